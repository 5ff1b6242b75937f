package symbols

import (
	"slices"
	"testing"

	"physgdb/symbols/internal/symtest"
)

// TestAliasesAreOrderedAsTheKernelOrdersThem has groups of symbols at one address out of
// /proc/kallsyms of guests with Linux 5.10.262 and 7.3.4 (Debian's cloud flavour), in their order.
// Of any order of them in a file, the table has to make this one.
func TestAliasesAreOrderedAsTheKernelOrdersThem(t *testing.T) {
	for _, group := range [][]string{
		{"__do_sys_ni_syscall", "__ia32_sys_ni_syscall", "__x64_sys_ni_syscall"},
		{"srso_alias_untrain_ret", "_stext", "_text", "__pi__text"},
		{"common_interrupt_return", "swapgs_restore_regs_and_return_to_usermode", "__irqentry_text_end"},
		{"__pfx_trace_initcall_level_cb", "__split_text_end", "__split_text_start", "__unlikely_text_start"},
		{"__pfx___traceiter_initcall_level", "__hot_text_end", "__hot_text_start"},
	} {
		const addr = 0xffffffff81000000
		for range 20 {
			syms := []Symbol{{Name: "next", Addr: addr + 0x40}}
			for _, name := range group {
				syms = append(syms, Symbol{Name: name, Addr: addr})
			}
			symtest.Dice().Shuffle(len(syms), func(i, j int) { syms[i], syms[j] = syms[j], syms[i] })
			var got []string
			table := NewRankedTable(syms, nil)
			for s := range table.All() {
				got = append(got, s.Name)
			}
			if !slices.Equal(got[:len(group)], group) {
				t.Errorf("got %q, want %q", got, group)
			}
			if s, off, ok := table.At(addr + 8); !ok || s.Name != group[0] || off != 8 || s.Size != 0x40 {
				t.Errorf("At gives %+v, %d, %v, want %s", s, off, ok, group[0])
			}
		}
	}
}

// TestWeakAliasesComeLast: weak symbols give way to all others, whatever they are called.
func TestWeakAliasesComeLast(t *testing.T) {
	table := NewRankedTable([]Symbol{{Name: "a", Addr: 8, Weak: true}, {Name: "__b", Addr: 8}, {Name: "__start_c", Addr: 8}}, nil)
	if s, _, _ := table.At(8); s.Name != "__b" {
		t.Errorf("got %s, want __b", s.Name)
	}
}

func TestLookupAll(t *testing.T) {
	table := NewTable([]Symbol{
		{Name: "s_show", Addr: 0x3000}, {Name: "other", Addr: 0x1000}, {Name: "s_show", Addr: 0x2000}, {Name: "s_show", Addr: 0x3000},
	}, nil)
	var got []uint64
	for _, s := range table.LookupAll("s_show") {
		got = append(got, s.Addr)
	}
	if want := []uint64{0x2000, 0x3000}; !slices.Equal(got, want) {
		t.Errorf("got %#x, want %#x", got, want)
	}
	if found := table.LookupAll("nothing"); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}
