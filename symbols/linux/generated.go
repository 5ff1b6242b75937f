package linux

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
)

// GeneratedCode is code that the kernel generated at run time: a BPF program, a trampoline, a page
// of copied instructions. It is in no symbol table of the kernel or of a module.
type GeneratedCode struct {
	symbols.Symbol // its address is that in the running kernel
	// Module is the module in /proc/kallsyms. It is empty for BPF, as in the kernel's own traces.
	Module string

	kind generatedKind
	// original is the address in the running kernel of the code that a trampoline of ftrace is a
	// copy of.
	original uint64
}

type generatedKind uint8

const (
	bpfCode         generatedKind = iota
	ftraceCode                    // a copy of ftrace_caller or ftrace_regs_caller
	probedSlots                   // single instructions that kprobes have moved
	optimizedProbes               // detours that kprobes jump to
)

// Generated is the generated code of a kernel in the order of its addresses.
type Generated struct {
	All []*GeneratedCode
	// Damage says why code may be missing.
	Damage []error

	kmem.Timeouts
}

// At returns the generated code at an address, or nil.
func (g *Generated) At(addr uint64) *GeneratedCode {
	i, found := slices.BinarySearchFunc(g.All, addr, func(c *GeneratedCode, addr uint64) int { return cmp.Compare(c.Addr, addr) })
	if !found {
		i--
	}
	if i < 0 || addr-g.All[i].Addr >= g.All[i].Size {
		return nil
	}
	return g.All[i]
}

// Limits of generated code, for damaged memory.
const (
	maxGenerated     = 1 << 14 // entries of one list
	maxGeneratedCode = 4 << 20 // bytes of one; a BPF program has at most a million instructions
	maxTrampoline    = 1 << 12 // bytes; ftrace_regs_caller has some 300
)

// Generated returns the code that the kernel generated at run time. The list is empty for a kernel
// that generates none, or without symbols for the lists of it (no CONFIG_KALLSYMS_ALL). The error
// is ctx's, or for missing type information.
func (k *Kernel) Generated(ctx context.Context) (*Generated, error) {
	return k.generated.Get(ctx, func(ctx context.Context) (*Generated, error) {
		f := &generatedFinder{k: k}
		for _, look := range []func(context.Context) error{f.bpf, f.ftrace, f.kprobes} {
			if err := look(ctx); err != nil {
				return nil, fmt.Errorf("generated code: %w", err)
			}
		}
		return f.finish(), nil
	})
}

// generatedFinder collects generated code.
type generatedFinder struct {
	k      *Kernel
	all    []*GeneratedCode
	damage kmem.Damage
}

// add adds a piece of code if it is plausible.
func (f *generatedFinder) add(c *GeneratedCode, maxSize uint64) {
	switch {
	case c.Size == 0 || c.Size > maxSize || !f.k.InText(c.Addr) || !f.k.InText(c.Addr+c.Size-1):
		f.damage.Add("%s: %d bytes of code at %#x: damaged", c.Name, c.Size, c.Addr)
	case c.Name == "" || !symbols.Printable([]byte(c.Name)):
		f.damage.Add("code at %#x: its name %q is invalid: damaged", c.Addr, c.Name)
	default:
		c.Func = true
		f.all = append(f.all, c)
	}
}

// finish sorts the list. Of two pieces that overlap, the first is kept.
func (f *generatedFinder) finish() *Generated {
	slices.SortStableFunc(f.all, func(a, b *GeneratedCode) int { return cmp.Compare(a.Addr, b.Addr) })
	apart := f.all[:0]
	for _, c := range f.all {
		if n := len(apart); n > 0 && c.Addr-apart[n-1].Addr < apart[n-1].Size {
			if apart[n-1].Symbol != c.Symbol {
				f.damage.Add("%s at %#x lies in %s: damaged", c.Name, c.Addr, apart[n-1].Name)
			}
			continue
		}
		apart = append(apart, c)
	}
	return &Generated{apart, f.damage.List(), f.damage.Timeouts}
}

// chain follows pointers from struct to struct, at most maxGenerated of them, and calls visit with
// each, which returns the address of the next. A chain that breaks or is circular is damage. The
// error is ctx's.
func chain[T any](
	ctx context.Context, f *generatedFinder, what string, layout *kmem.Struct[T], at uint64, ends func(uint64) bool,
	visit func(s *T) (next uint64),
) error {
	seen := map[uint64]bool{}
	for !ends(at) {
		if seen[at] || len(seen) == maxGenerated {
			f.damage.Add("%s: the list has no end", what)
			return nil
		}
		seen[at] = true
		s, err := layout.ReadOne(ctx, f.k.Space, at)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.damage.Add("%s: the list breaks after %d entries: %w", what, len(seen)-1, err)
			return nil
		}
		at = visit(s)
	}
	return nil
}

// bpfKsym is struct bpf_ksym (include/linux/bpf.h, since Linux 5.7), which names programs,
// trampolines, dispatchers and trampolines of struct_ops alike (kernel/bpf/core.c, trampoline.c,
// dispatcher.c).
type bpfKsym struct {
	Start uint64 `c:"start"`
	End   uint64 `c:"end"`
	Name  string `c:"name" max:"512"` // KSYM_NAME_LEN, include/linux/kallsyms.h
	Node  uint64 `c:"lnode.next"`
}

func (f *generatedFinder) bpf(ctx context.Context) error {
	layout, head, err := listOf[bpfKsym](ctx, f, "bpf_kallsyms", "bpf_ksym")
	if layout == nil {
		return err
	}
	first, err := kmem.ReadUint(ctx, f.k.Space, head, 8)
	if err != nil {
		f.damage.Add("bpf_kallsyms: %w", err)
		return ctx.Err()
	}
	off := layout.Offset("Node")
	return chain(ctx, f, "bpf_kallsyms", layout, first-off, func(at uint64) bool { return at+off == head },
		func(s *bpfKsym) uint64 {
			f.add(&GeneratedCode{
				Symbol: symbols.Symbol{Name: s.Name, Addr: s.Start, Size: s.End - s.Start}, kind: bpfCode,
			}, maxGeneratedCode)
			return s.Node - off
		})
}

// ftraceOps is struct ftrace_ops (include/linux/ftrace.h).
type ftraceOps struct {
	Next       uint64 `c:"next"`
	Flags      uint64 `c:"flags"`
	Trampoline uint64 `c:"trampoline"`
	Size       uint64 `c:"trampoline_size"`
}

// ftraceSavesRegs is FTRACE_OPS_FL_SAVE_REGS: the same bit in 4.0 to 7.3.
const ftraceSavesRegs = 1 << 2

// ftrace finds the trampolines that each call one user of ftrace. They are copies of
// ftrace_regs_caller or ftrace_caller (create_trampoline, arch/x86/kernel/ftrace.c), and the kernel
// unwinds them by the entries of these (orc_ftrace_find, arch/x86/kernel/unwind_orc.c). The names
// are those in /proc/kallsyms.
func (f *generatedFinder) ftrace(ctx context.Context) error {
	layout, head, err := listOf[ftraceOps](ctx, f, "ftrace_ops_list", "ftrace_ops")
	if layout == nil {
		return err
	}
	end, _ := f.k.Addr("ftrace_list_end")
	first, err := kmem.ReadUint(ctx, f.k.Space, head, 8)
	if err != nil {
		f.damage.Add("ftrace_ops_list: %w", err)
		return ctx.Err()
	}
	return chain(ctx, f, "ftrace_ops_list", layout, first, func(at uint64) bool { return at == end || at == 0 },
		func(s *ftraceOps) uint64 {
			original := "ftrace_caller"
			if s.Flags&ftraceSavesRegs != 0 {
				original = "ftrace_regs_caller"
			}
			if s.Size != 0 {
				c := &GeneratedCode{Module: "__builtin__ftrace", kind: ftraceCode}
				c.Symbol = symbols.Symbol{Name: "ftrace_trampoline", Addr: s.Trampoline, Size: s.Size}
				c.original, _ = f.k.Addr(original)
				f.add(c, maxTrampoline)
			}
			return s.Next
		})
}

// listOf returns the layout of the nodes of a list and the address of its head; nil if this kernel
// has no such list.
func listOf[T any](ctx context.Context, f *generatedFinder, head, typ string) (*kmem.Struct[T], uint64, error) {
	at, ok := f.k.Addr(head)
	if !ok {
		return nil, 0, nil
	}
	layout, err := StructOf[T](ctx, f.k, typ)
	if err != nil && ctx.Err() == nil {
		f.damage.Add("%s: %w", head, err)
		return nil, 0, nil
	}
	return layout, at, err
}

// kprobeCache is struct kprobe_insn_cache (include/linux/kprobes.h).
type kprobeCache struct {
	Pages uint64 `c:"pages.next"`
}

// kprobePage is struct kprobe_insn_page (kernel/kprobes.c): one page of code.
type kprobePage struct {
	Next  uint64 `c:"list.next"`
	Insns uint64 `c:"insns"`
}

// kprobes finds the pages in which kprobes keep code. The names are those in /proc/kallsyms.
func (f *generatedFinder) kprobes(ctx context.Context) error {
	for _, cache := range []struct {
		head, name string
		kind       generatedKind
	}{
		{"kprobe_insn_slots", "kprobe_insn_page", probedSlots},
		{"kprobe_optinsn_slots", "kprobe_optinsn_page", optimizedProbes},
	} {
		if err := f.kprobePages(ctx, cache.head, cache.name, cache.kind); err != nil {
			return err
		}
	}
	return nil
}

// kprobePages finds the pages of one cache.
func (f *generatedFinder) kprobePages(ctx context.Context, head, name string, kind generatedKind) error {
	const size = 4096 // bytes: PAGE_SIZE
	layout, at, err := listOf[kprobeCache](ctx, f, head, "kprobe_insn_cache")
	if layout == nil {
		return err
	}
	cache, err := layout.ReadOne(ctx, f.k.Space, at)
	if err != nil {
		f.damage.Add("%s: %w", head, err)
		return ctx.Err()
	}
	pages, _, err := listOf[kprobePage](ctx, f, head, "kprobe_insn_page")
	if pages == nil {
		return err
	}
	off, end := pages.Offset("Next"), at+layout.Offset("Pages")
	return chain(ctx, f, head, pages, cache.Pages-off, func(at uint64) bool { return at+off == end },
		func(s *kprobePage) uint64 {
			c := &GeneratedCode{Module: "__builtin__kprobes", kind: kind}
			c.Symbol = symbols.Symbol{Name: name, Addr: s.Insns, Size: size}
			f.add(c, size)
			return s.Next - off
		})
}

// generatedPlace returns the generated code at an address.
func (k *Kernel) generatedPlace(ctx context.Context, addr uint64) (Place, error) {
	if !k.InText(addr) {
		return Place{}, fmt.Errorf("%w at %#x", ErrNoSymbol, addr)
	}
	g, err := k.Generated(ctx)
	if err != nil {
		return Place{}, err
	}
	if c := g.At(addr); c != nil {
		return Place{Symbol: c.Symbol, Offset: addr - c.Addr, Module: c.Module}, nil
	}
	return Place{}, fmt.Errorf("%w at %#x", ErrNoSymbol, addr)
}

// rule returns how to unwind the code at pc, given the kernel's own table.
func (c *GeneratedCode) rule(table symbols.Unwinder, slide, pc uint64) (symbols.FrameRule, bool) {
	switch c.kind {
	case bpfCode:
		return symbols.ByFramePointer(), true
	case ftraceCode:
		return table.At(c.original + (pc - c.Addr) - slide)
	case optimizedProbes:
		// A detour calls the handler with a struct pt_regs at the top of the stack
		// (optprobe_template_entry, arch/x86/kernel/kprobes/opt.c).
		return symbols.FrameRule{Kind: symbols.RegsFrame, Base: symbols.RSP, Signal: true}, true
	}
	return symbols.FrameRule{}, false
}

// generatedRule is frameRule for generated code.
func (k *Kernel) generatedRule(ctx context.Context, table symbols.Unwinder, pc uint64) (symbols.FrameRule, bool, error) {
	g, err := k.Generated(ctx)
	if err != nil {
		return symbols.FrameRule{}, false, err
	}
	if c := g.At(pc); c != nil {
		rule, ok := c.rule(table, k.Slide, pc)
		return rule, ok, nil
	}
	return symbols.FrameRule{}, false, nil
}

// Rules returns how to unwind generated code, in the order of its run-time addresses. The error is
// ctx's.
func (g *Generated) Rules(ctx context.Context, k *Kernel) ([]symbols.CodeRule, error) {
	table, err := k.Unwinder(ctx)
	if err != nil {
		table = framePointers{}
	}
	var all []symbols.CodeRule
	for _, c := range g.All {
		if ctx.Err() != nil {
			break
		}
		all = append(all, c.rules(table, k.Slide)...)
	}
	return all, ctx.Err()
}

// framePointers are the rules of a kernel without unwind tables: all code has a frame pointer.
type framePointers struct{}

func (framePointers) At(uint64) (symbols.FrameRule, bool) { return symbols.ByFramePointer(), true }

// rules returns how to unwind a piece of code, as ranges that share one rule.
func (c *GeneratedCode) rules(table symbols.Unwinder, slide uint64) []symbols.CodeRule {
	if c.kind != ftraceCode {
		if rule, ok := c.rule(table, slide, c.Addr); ok {
			return []symbols.CodeRule{{From: c.Addr, To: c.Addr + c.Size, FrameRule: rule}}
		}
		return nil
	}
	var all []symbols.CodeRule
	for pc := c.Addr; pc < c.Addr+c.Size; pc++ {
		rule, ok := c.rule(table, slide, pc)
		if !ok {
			continue
		}
		if n := len(all) - 1; n >= 0 && all[n].To == pc && all[n].FrameRule == rule {
			all[n].To++
			continue
		}
		all = append(all, symbols.CodeRule{From: pc, To: pc + 1, FrameRule: rule})
	}
	return all
}
