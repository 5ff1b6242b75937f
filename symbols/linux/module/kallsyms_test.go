package module

import (
	"io"
	"strings"
	"testing"

	"physgdb/symbols/linux"

	"github.com/google/go-cmp/cmp"

	"physgdb/symbols"
)

func TestKallsyms(t *testing.T) {
	w := newModuleWorld(t, false)
	const image = linux.ImageBase + 1<<20
	w.Slide = 1 << 21
	w.Symbols = symbols.NewTable([]symbols.Symbol{
		{Name: "panic", Addr: image + 0x10, Func: true}, {Name: "_text", Addr: image}, {Name: "_etext", Addr: image + 0x1000},
		{Name: "runqueues", Addr: 0x35e80}, {Name: "__bss_start", Addr: image + 0x4000}, {Name: "__bss_stop", Addr: image + 0x5000},
		{Name: "jiffies", Addr: image + 0x3000}, {Name: "__start_rodata", Addr: image + 0x2000},
		{Name: "__end_rodata", Addr: image + 0x2800}, {Name: "modules", Addr: w.head},
	}, nil)
	w.load("a")
	text := w.symtab("", symbols.Symbol{Name: "start", Func: true}, symbols.Symbol{Name: ".Lmark"},
		symbols.Symbol{Name: "datum", Addr: 0x1100})
	if text != 0xffff888000201000 {
		t.Fatalf("the module is at %#x", text)
	}
	var out strings.Builder
	if err := writeKallsyms(w, &out); err != nil {
		t.Fatal(err)
	}
	want := `0000000000035e80 A runqueues
ffff888000100000 A modules
ffffffff80300000 t _text
ffffffff80300010 t panic
ffffffff80301000 d _etext
ffffffff80302000 r __start_rodata
ffffffff80302800 r __end_rodata
ffffffff80303000 d jiffies
ffffffff80304000 b __bss_start
ffffffff80305000 d __bss_stop
ffff888000201000 t start	[a]
ffff888000201000 t .Lmark	[a]
ffff888000202100 d datum	[a]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKallsymsOfDamagedModule(t *testing.T) {
	w := newModuleWorld(t, false)
	w.load("a")
	w.setModule("a", "kallsyms", 8)
	var out strings.Builder
	err := writeKallsyms(w, &out)
	if err == nil || !strings.Contains(err.Error(), "module a") || !strings.Contains(out.String(), " modules\n") {
		t.Errorf("%v with\n%s", err, out.String())
	}
	w.Symbols = nil
	if err := w.WriteKallsyms(&out); err == nil {
		t.Error("no error without symbols")
	}
}

// writeKallsyms writes the symbols of the kernel and its modules.
func writeKallsyms(w *moduleWorld, out io.Writer) error {
	if err := w.WriteKallsyms(out); err != nil {
		return err
	}
	list, err := Read(ctx, w.Kernel)
	if err != nil {
		return err
	}
	return list.WriteKallsyms(ctx, out)
}
