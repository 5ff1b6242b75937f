package elfsynth

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cilium "github.com/cilium/ebpf/btf"

	"physgdb/symbols"
)

// onModules runs a test on the modules of every kernel of the cache that have types of their own.
func onModules(t *testing.T, test func(t *testing.T, vmlinux, module string)) {
	onKernels(t, func(t *testing.T, vmlinux string) {
		modules, _ := filepath.Glob(filepath.Join(filepath.Dir(vmlinux), "drivers", "*.ko"))
		if len(modules) == 0 {
			t.Skip("the cache of the test rig has no drivers")
		}
		for _, m := range modules {
			t.Run(filepath.Base(m), func(t *testing.T) { test(t, vmlinux, m) })
		}
	})
}

// onMadeFiles runs a test on the files made for each kernel, and for one of its modules.
func onMadeFiles(t *testing.T, test func(t *testing.T, path string)) {
	onKernels(t, func(t *testing.T, vmlinux string) { test(t, built(t, kernelProgram(t, vmlinux))) })
	onModules(t, func(t *testing.T, vmlinux, module string) {
		if !strings.HasSuffix(module, "virtio_net.ko") {
			t.Skip("one is enough")
		}
		test(t, builtModule(t, moduleProgram(t, vmlinux, module)))
	})
}

// moduleProgram returns what could be known of a module in memory, had it been loaded with adjacent
// sections.
func moduleProgram(t testing.TB, vmlinux, module string) *Program {
	t.Helper()
	f := open(t, module)
	p := &Program{Name: filepath.Base(module), BTF: blob(t, f, ".BTF"), BaseBTF: blob(t, open(t, vmlinux), ".BTF").Data}
	p.Notes = blob(t, f, ".note.gnu.build-id")
	at := uint64(0xffffffffc0000000)
	places := map[elf.SectionIndex]uint64{}
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		at = (at + s.Addralign - 1) &^ (s.Addralign - 1)
		places[elf.SectionIndex(i)] = at
		p.Sections = append(p.Sections, Section{
			Name: s.Name, Addr: at, Size: s.Size, Write: s.Flags&elf.SHF_WRITE != 0, Exec: s.Flags&elf.SHF_EXECINSTR != 0,
		})
		at += s.Size
	}
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if base, ok := places[s.Section]; ok && s.Name != "" && elf.ST_TYPE(s.Info) != elf.STT_SECTION {
			p.Symbols = append(p.Symbols, symbols.Symbol{
				Name: s.Name, Addr: base + s.Value,
				Func: elf.ST_TYPE(s.Info) == elf.STT_FUNC, Local: elf.ST_BIND(s.Info) == elf.STB_LOCAL,
			})
		}
	}
	return p
}

// TestModulesHaveKernelTypesTheyNeed reads a module's file by itself: it must be sound, and what it
// says of structs of the kernel must be what the kernel's file says.
func TestModulesHaveKernelTypesTheyNeed(t *testing.T) {
	kernels := map[string]*facts{}
	onModules(t, func(t *testing.T, vmlinux, module string) {
		p := moduleProgram(t, vmlinux, module)
		checkSound(t, p.BaseBTF, p.BTF.Data)
		ours := readFacts(t, builtModule(t, p), nil)
		if len(ours.types) == 0 || len(ours.funcs) == 0 {
			t.Errorf("%d types, %d functions", len(ours.types), len(ours.funcs))
		}
		if kernels[vmlinux] == nil {
			kernels[vmlinux] = readFacts(t, built(t, kernelProgram(t, vmlinux)), nil)
		}
		compare(t, "types", ours.types, kernels[vmlinux].types)
	})
}

// builtModule writes the file of a module that lacks nothing but ORC, whose addresses are not known
// before it is loaded.
func builtModule(t testing.TB, p *Program) string {
	t.Helper()
	data, missing, _ := Build(t.Context(), p)
	if len(missing) != 1 || !strings.Contains(missing[0].Error(), "no ORC") {
		t.Errorf("missing: %v", missing)
	}
	return written(t, p, data)
}

// TestDebuggersCompleteTypesOfModules asks gdb for a struct of a module, and through it for one of
// the kernel that the module's file has the name of alone. The witness is another reader of the
// same BTF.
func TestDebuggersCompleteTypesOfModules(t *testing.T) {
	onKernels(t, func(t *testing.T, vmlinux string) {
		module := filepath.Join(filepath.Dir(vmlinux), "drivers", "07-virtio_net.ko")
		if _, err := os.Stat(module); err != nil {
			t.Skip(err)
		}
		p := moduleProgram(t, vmlinux, module)
		base, err := cilium.LoadSpecFromReader(bytes.NewReader(p.BaseBTF))
		if err != nil {
			t.Fatal(err)
		}
		spec, err := cilium.LoadSplitSpecFromReader(bytes.NewReader(p.BTF.Data), base)
		if err != nil {
			t.Fatal(err)
		}
		var info, device *cilium.Struct
		if err := errors.Join(spec.TypeByName("virtnet_info", &info), base.TypeByName("net_device", &device)); err != nil {
			t.Fatal(err)
		}
		got := tool(t, "gdb", "-nx", "-q", "-batch", "-iex", "set complaints 1000", built(t, kernelProgram(t, vmlinux)),
			"-ex", "add-symbol-file "+builtModule(t, p),
			"-ex", "p sizeof(struct virtnet_info)",
			"-ex", "p sizeof(*((struct virtnet_info *)0)->dev)",
			"-ex", "ptype virtnet_probe",
			"-ex", "info symbol virtnet_probe")
		want := fmt.Sprintf("$1 = %d\n$2 = %d\ntype = int (struct virtio_device *)\nvirtnet_probe in section .text of ",
			info.Size, device.Size)
		if _, got, _ = strings.Cut(got, "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("gdb says\n%s\nwant\n%s", got, want)
		}
	})
}
