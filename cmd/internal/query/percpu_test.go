package query

import (
	"testing"

	"physgdb/symbols"
	"physgdb/test/rig"
)

// A debugger lends addresses alone: of a pointer no single byte must be shown as its value.
func TestBorrowedPerCPUSymbolsHaveNoSize(t *testing.T) {
	m := attachWithVmlinux(t, rig.New(t, 4))
	text, _ := m.Kernel.Addr("_text")
	at, _ := m.Kernel.Addr("panic")
	if s := perCPUSymbol(m, "panic"); s.Size == 0 {
		t.Error("that of a vmlinux has none")
	}
	known, err := m.WithBorrowedSymbols(t.Context(), map[string]uint64{"_text": text, "panic": at})
	rig.Must(t, err)
	if s := perCPUSymbol(known, "panic"); s.Addr == 0 || s.Size != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPerCPUValues(t *testing.T) {
	m := attachWithVmlinux(t, rig.New(t, 4))
	at, _ := m.Kernel.Addr("nr_cpu_ids") // 70, followed by zeros
	for size, want := range map[uint64]string{4096: "", 0: "", 1: "0x46", 8: "0x46"} {
		c := &PerCPU{CPU: 2, Addr: Address(at)}
		rig.Must(t, c.read(ctx, m, &symbols.Symbol{Name: "x", Size: size}))
		if got := ""; c.Value != nil {
			if got = c.Value.String(); got != want {
				t.Errorf("of %d bytes: %s, want %s", size, got, want)
			}
		} else if want != "" {
			t.Errorf("of %d bytes: no value, want %s", size, want)
		}
	}
	c := &PerCPU{CPU: 2, Addr: 0xffffffff80000000}
	rig.WantError(t, c.read(ctx, m, &symbols.Symbol{Name: "x", Size: 8}), "x of CPU 2: read 8 bytes at 0xffffffff80000000")
}
