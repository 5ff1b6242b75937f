package elfsynth

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/elffile"
	"physgdb/symbols/orc"
	"physgdb/test/guest"
)

// onKernels runs a test on the vmlinux of each kernel of the test rig.
func onKernels(t *testing.T, test func(t *testing.T, vmlinux string)) {
	for _, path := range vmlinuxes(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { test(t, path) })
	}
}

func vmlinuxes(t testing.TB) []string {
	t.Helper()
	var paths []string
	for _, series := range []string{"6.1", "6.12"} {
		k, err := guest.Prepare(t.Context(), series, nil)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, k.Vmlinux)
	}
	return paths
}

// kernelProgram returns what could be known of a running kernel: of its symbols no sizes, as
// kallsyms has none.
func kernelProgram(t testing.TB, vmlinux string) *Program {
	t.Helper()
	f := open(t, vmlinux)
	p := &Program{Name: "vmlinux", Globals: KernelGlobals(), BTF: blob(t, f, ".BTF"), Notes: blob(t, f, ".notes")}
	p.Symbols = symbolsOf(t, vmlinux)
	for _, name := range []string{".data..percpu", ".text", ".rodata", ".data", ".init.text", ".init.data", ".bss"} {
		s := f.Section(name)
		p.Sections = append(p.Sections, Section{
			Name: name, Addr: s.Addr, Size: s.Size, PerCPU: s.Addr == 0,
			Write: name != ".rodata" && s.Flags&elf.SHF_WRITE != 0, Exec: s.Flags&elf.SHF_EXECINSTR != 0,
		})
	}
	for i := range p.Sections[2:] { // bytes between two of them belong to the first
		s := &p.Sections[i+1]
		s.Size = p.Sections[i+2].Addr - s.Addr
	}
	p.Sections = cutOut(p.Sections, Section{Name: ".notes", Addr: p.Notes.Addr, Size: uint64(len(p.Notes.Data))})
	p.ORC = &orc.Sections{IPs: blob(t, f, ".orc_unwind_ip"), Entries: blob(t, f, ".orc_unwind")}
	if f.Section(".orc_header") != nil {
		p.ORC.Header = blob(t, f, ".orc_header")
	}
	var err error
	if p.ORC.Format, err = orc.FormatOf(p.ORC.Header.Data, p.ORC.Entries.Data); err != nil {
		t.Fatal(err)
	}
	return p
}

// cutOut makes a part of one section a section of its own.
func cutOut(all []Section, part Section) []Section {
	i := slices.IndexFunc(all, func(s Section) bool { return part.Addr-s.Addr < s.Size })
	whole := all[i]
	before, following := whole, whole
	before.Size = part.Addr - whole.Addr
	following.Name, following.Addr = whole.Name+".1", part.Addr+part.Size
	following.Size = whole.Addr + whole.Size - following.Addr
	return slices.Replace(all, i, i+1, before, part, following)
}

// symbolsOf returns the symbols that kallsyms has too, without sizes.
func symbolsOf(t testing.TB, path string) []symbols.Symbol {
	t.Helper()
	table, err := elffile.ReadTable(path)
	if err != nil {
		t.Fatal(err)
	}
	var syms []symbols.Symbol
	for s := range table.All() {
		if strings.HasPrefix(s.Name, "__pfx_") || strings.HasPrefix(s.Name, "__crc_") || strings.HasPrefix(s.Name, ".L") {
			continue
		}
		s.Size = 0
		syms = append(syms, s)
	}
	return syms
}

func blob(t testing.TB, f *elf.File, section string) symbols.Blob {
	t.Helper()
	s := f.Section(section)
	if s == nil {
		t.Fatalf("no section %s", section)
	}
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return symbols.Blob{Addr: s.Addr, Data: data}
}

func open(t testing.TB, path string) *elf.File {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tool runs a program, which must find nothing wrong, and returns what it printed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// built writes the file of a program and returns its path.
func built(t testing.TB, p *Program) string {
	t.Helper()
	data, missing, _ := Build(t.Context(), p)
	for _, err := range missing {
		t.Error(err)
	}
	return written(t, p, data)
}

func written(t testing.TB, p *Program, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), p.Name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func BenchmarkBuildOfAKernel(b *testing.B) {
	for _, path := range vmlinuxes(b) {
		p := kernelProgram(b, path)
		b.Run(filepath.Base(filepath.Dir(path)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if data, _, _ := Build(b.Context(), p); len(data) == 0 {
					b.Fatal("nothing")
				}
			}
		})
	}
}

func newELF(data []byte) (*elf.File, error) { return elf.NewFile(bytes.NewReader(data)) }
