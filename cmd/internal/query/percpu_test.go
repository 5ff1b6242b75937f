package host

import (
	"strings"
	"testing"

	"physgdb/symbols"
)

func TestPerCPULines(t *testing.T) {
	m := newRig(t, 4).attachWithVmlinux(t)
	at, _ := m.Kernel.Addr("nr_cpu_ids") // 70, and zeros behind it
	for _, tc := range []struct {
		name string
		size uint64
		want string
	}{
		{"a large one", 4096, "CPU 2   ADDR  print *(typeof(&x))ADDR\n"},
		{"one of unknown size", 0, "CPU 2   ADDR  print *(typeof(&x))ADDR\n"},
		{"a byte", 1, "CPU 2   ADDR = 0x46  print *(typeof(&x))ADDR\n"},
		{"a number", 8, "CPU 2   ADDR = 0x46  print *(typeof(&x))ADDR\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := &perCPULine{CPU: 2, Addr: address(at), Expression: "*(typeof(&x))" + hex(at)}
			must(t, line.read(ctx, m, &symbols.Symbol{Name: "x", Size: tc.size}))
			var got strings.Builder
			must(t, line.write(&got, false))
			if want := strings.ReplaceAll(tc.want, "ADDR", hex(at)); got.String() != want {
				t.Errorf("%q, want %q", got.String(), want)
			}
		})
	}
	line := &perCPULine{CPU: 2, Addr: 0xffffffff80000000}
	err := line.read(ctx, m, &symbols.Symbol{Name: "x", Size: 8})
	wantError(t, err, "percpu: x of CPU 2: read 8 bytes at 0xffffffff80000000")
}

// A debugger lends addresses alone: of a pointer no single byte must be shown as its value.
func TestBorrowedPerCPUSymbolsHaveNoSize(t *testing.T) {
	m := newRig(t, 4).attachWithVmlinux(t)
	text, _ := m.Kernel.Addr("_text")
	at, _ := m.Kernel.Addr("panic")
	if s := m.perCPUSymbol("panic"); s.Size == 0 {
		t.Error("that of a vmlinux has none")
	}
	known, err := m.explainedBy(t.Context(), map[string]uint64{"_text": text, "panic": at})
	must(t, err)
	if s := known.perCPUSymbol("panic"); s.Addr == 0 || s.Size != 0 {
		t.Errorf("%+v", s)
	}
}
