package machine

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"physgdb/symbols/linux/module"

	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// TestAVmlinuxIsFoundWithoutTheKernelsNames: a kernel whose own names cannot be read is explained
// by a vmlinux of the release in its banner, if memory has the build-id of that; by another it is
// not.
func TestAVmlinuxIsFoundWithoutTheKernelsNames(t *testing.T) {
	for id, found := range map[string]bool{memimage.BuildID: true, "\xde\xad\xbe\xef": false} {
		r := rig.New(t, 4)
		copy(r.RAM[r.TextPhys+8<<21:], "Linux version 6.1-test (x) #1 SMP\n\x00")
		rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
		dir := t.TempDir()
		rig.Must(t, r.WriteVmlinux(filepath.Join(dir, "vmlinux-6.1-test"), id))
		m := attachRig(t, r, Options{DebugDirs: []string{dir}, Symbols: SymbolsAuto})
		if got := m.Kernel.Symbols != nil; got != found {
			t.Errorf("build-id %x: found: %v, want %v: %v", id, got, found, m.noVmlinux)
		}
		if err := m.MissingSymbols(); (err == nil) != found {
			t.Errorf("build-id %x: %v", id, err)
		}
	}
}

// hostileText is what an attacker may have put wherever text is: controls of every kind, a path,
// and a command.
const hostileText = "\x1b]0;x\a\u009b2J\u202e\u2028\x7f\xff/../$(reboot)"

// TestNamesFromMemoryAreFit has a release and a module name that would command a terminal, leave a
// directory, or run a program.
func TestNamesFromMemoryAreFit(t *testing.T) {
	fit := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~-]*$`)
	r := rig.New(t, 4)
	copy(r.RAM[r.TextPhys+8<<21:], "Linux version 6.1-"+hostileText+" (x) #1 SMP\n\x00")
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
	m := attachRig(t, r, Options{Vmlinux: r.Path("vmlinux")})
	if release := m.Release(ctx); !strings.Contains(release, "\x1b") {
		t.Fatalf("the release is %q: the test needs an escape in it", release)
	}
	library := m.syntheticModule(&module.Module{Name: hostileText}, moduleFile(hostileText)).Name
	for _, name := range []string{
		m.VmlinuxName(ctx), moduleFile(hostileText), strings.TrimPrefix(library, MemoryDir),
	} {
		if !fit.MatchString(name) || len(name) > len("vmlinux-")+64 {
			t.Errorf("%q is no name", name)
		}
	}
	if name := moduleFile("virtio_net"); name != "virtio_net.ko" {
		t.Errorf("an honest name is %q", name)
	}
}
