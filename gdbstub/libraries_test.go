package gdbstub_test

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"physgdb/gdbstub"
)

func TestLibrariesAreListedWithTheirSectionsInOrder(t *testing.T) {
	target := newAble()
	target.libraries = []gdbstub.Library{
		{Name: "/lib/modules/e<1>&\"000\".ko", Sections: []uint64{0xffffffffc0002000, 0xffffffffc0001000, 0xffffffffc0002000}},
		{Name: "no sections.ko"},
		{Name: "a section at 0.ko", Sections: []uint64{0xffffffffc0003000, 0}},
		{Name: "", Sections: []uint64{0xffffffffc0004000}},
		{Name: "ext4\n\xff.ko", Sections: []uint64{0xffffffffc0005000}},
	}
	c := connect(t, target)
	want := []string{
		`<?xml version="1.0"?>`,
		`<library-list version="1.0">`,
		`<library name="/lib/modules/e&lt;1&gt;&amp;&#34;000&#34;.ko"><section address="0xffffffffc0002000"/>` +
			`<section address="0xffffffffc0001000"/><section address="0xffffffffc0002000"/></library>`,
		`<library name="ext4 \xff.ko"><section address="0xffffffffc0005000"/></library>`,
		`</library-list>`, "",
	}
	if got := c.document("libraries", ""); got != strings.Join(want, "\n") {
		t.Errorf("got %s", got)
	}
	c.expect("qXfer:libraries:read:x:0,10", "E00")
}

// unreadable cannot list its libraries.
type unreadable struct{ *able }

func (unreadable) Libraries(context.Context) ([]gdbstub.Library, error) { return nil, errBroken }

func (unreadable) OSTables() []gdbstub.OSTable {
	return []gdbstub.OSTable{{Name: "files", Rows: func(context.Context) ([][]string, error) { return nil, errBroken }}}
}

func (unreadable) VMCoreInfo(context.Context) ([]byte, error) { return nil, errBroken }

func TestObjectsThatCannotBeReadAreErrors(t *testing.T) {
	for hello, want := range map[string]string{gdb13: "E01", gdb16: "E.the bridge is down"} {
		c := connect(t, unreadable{newAble()})
		c.ask(hello)
		c.expect("qXfer:libraries:read::0,10", want)
		c.expect("qXfer:osdata:read:files:0,10", want)
		c.expect("qXfer:vmcoreinfo:read::0,10", want)
	}
}

// module is testdata/module.c, compiled.
type module struct {
	path     string
	sections []uint64          // where each SHF_ALLOC section runs, in the order of the file
	symbols  map[string]uint64 // where each symbol is then
	memory   []region
}

// buildModule compiles testdata/module.c and spreads its sections over the memory from base on, the
// later the lower.
func buildModule(t *testing.T, base uint64) module {
	t.Helper()
	m := module{path: filepath.Join(t.TempDir(), "synthetic.ko"), symbols: make(map[string]uint64)}
	out, err := exec.Command("gcc", "-g", "-O0", "-c", "-fno-pie", "-mcmodel=kernel", "-fcf-protection=none",
		"-fno-asynchronous-unwind-tables", "-ffunction-sections", "-o", m.path, "testdata/module.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	f, err := elf.Open(m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := make(map[elf.SectionIndex]uint64)
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		addr := base - uint64(len(m.sections))*0x3000
		at[elf.SectionIndex(i)] = addr
		m.sections = append(m.sections, addr)
		data := make([]byte, s.Size)
		if s.Type != elf.SHT_NOBITS {
			if _, err := io.ReadFull(s.Open(), data); err != nil {
				t.Fatal(err)
			}
		}
		m.memory = append(m.memory, region{addr, data})
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if addr, ok := at[s.Section]; ok && s.Name != "" {
			m.symbols[s.Name] = addr + s.Value
		}
	}
	return m
}

func TestGdbPlacesTheSymbolsOfModules(t *testing.T) {
	kernel, m := buildKernel(t), buildModule(t, 0xffffffffc0800000)
	target := newKernel(t, kernel)
	target.memory = append(target.memory, m.memory...)
	target.libraries = []gdbstub.Library{
		{Name: "/lib/modules/0.0/" + filepath.Base(m.path), Sections: m.sections},
		{Name: "/lib/modules/0.0/nowhere.ko", Sections: []uint64{0xffffffffc0900000}},
	}
	commands := []string{"file " + kernel, "set solib-search-path " + filepath.Dir(m.path),
		"target remote " + serve(t, open(target), nil), "info sharedlibrary", "p mod_counter", "x/s mod_banner",
		"p counter", "info line mod_fn"}
	names := []string{"mod_fn", "mod_init", "mod_cold", "mod_counter", "mod_bss", "mod_banner"}
	for _, name := range names {
		commands = append(commands, "p/x (long)&"+name)
	}
	out := gdb(t, commands...)
	for _, want := range []string{
		"Yes         " + m.path, "$1 = 7", "\"synthetic module\\n\"", "$2 = 42", "module.c\" starts at",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
	if !regexp.MustCompile(`No +/lib/modules/0.0/nowhere.ko`).MatchString(out) {
		t.Error("gdb does not list the module that it cannot find")
	}
	for i, name := range names {
		if want := fmt.Sprintf("$%d = %#x\n", 3+i, m.symbols[name]); !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q for %s", want, name)
		}
	}
}

func TestGdbGoesOnWhenModulesCannotBeRead(t *testing.T) {
	kernel := buildKernel(t)
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(unreadable{newKernel(t, kernel)}), nil),
		"info sharedlibrary", "info os files", "p counter")
	for _, want := range []string{"No shared libraries loaded", "Can not fetch data now.", "$1 = 42"} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
}
