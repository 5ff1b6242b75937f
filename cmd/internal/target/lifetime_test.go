package target

import (
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/test/rig"
)

// resources is what the process holds of what must be closed.
type resources struct {
	files       int // mappings of files in /proc/self/maps
	descriptors int
	goroutines  int
}

// held counts the resources of the process. It collects no garbage: a finalizer is not a Close.
func held(t *testing.T) resources {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	rig.Must(t, err)
	descriptors, err := os.ReadDir("/proc/self/fd")
	rig.Must(t, err)
	files := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "/") {
			files++
		}
	}
	return resources{files, len(descriptors), runtime.NumGoroutine()}
}

// live is one life of a machine: it is opened, a debugger looks at it, and it is closed. The error
// is that of opening it.
func live(t *testing.T, o machine.Options) error {
	t.Helper()
	m, err := machine.Attach(ctx, &o)
	if err != nil {
		return err
	}
	all := New(m, ThreadsTasks)
	rig.Must(t, all.ReadAhead(ctx))
	s, err := all.NewSession(ctx)
	rig.Must(t, err)
	threads, err := s.Threads(ctx)
	rig.Must(t, err)
	_, err = s.Registers(ctx, threads[0].ID)
	rig.Must(t, err)
	for _, line := range []string{"info", "ps", "bt --lines", "modules"} { // some of which this kernel has not got
		_ = s.(gdbstub.Monitor).Monitor(ctx, io.Discard, line)
	}
	lines := m.SourceLines()
	if o.Vmlinux != "" && lines == nil {
		t.Fatal("the vmlinux has no source lines")
	}
	rig.Must(t, s.(io.Closer).Close())
	all.Close()
	rig.Must(t, m.Close())
	return nil
}

// addDWARF adds the debug information of a small program to an ELF file, so that it is mapped.
func addDWARF(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	run := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	source, program := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	rig.Must(t, os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o600))
	run("gcc", "-g", "-nostdlib", "-static", "-Wl,-e,main", "-o", program, source)
	f, err := elf.Open(program)
	rig.Must(t, err)
	defer f.Close()
	for _, s := range f.Sections {
		if strings.HasPrefix(s.Name, ".debug_") {
			data, err := s.Data()
			rig.Must(t, err)
			content := filepath.Join(dir, s.Name)
			rig.Must(t, os.WriteFile(content, data, 0o600))
			run("objcopy", "--add-section", s.Name+"="+content, path)
		}
	}
}

// TestEverythingIsClosed opens and closes a machine many times in each way.
func TestEverythingIsClosed(t *testing.T) {
	r := rig.New(t, 4)
	addDWARF(t, r.Path("vmlinux"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ram := machine.Options{Source: r.Path("ram"), CR3: rig.Hex(r.CR3)}
	with := func(change func(*machine.Options)) machine.Options {
		o := ram
		change(&o)
		return o
	}
	for _, tc := range []struct {
		name  string
		times int // fewer where RAM is searched for the kernel's own symbols
		o     machine.Options
	}{
		{"addresses only", 20, with(func(o *machine.Options) { o.Symbols = machine.SymbolsNone })},
		{"symbols from memory", 20, with(func(o *machine.Options) { o.Symbols = machine.SymbolsRAM })},
		{"a vmlinux", 200, with(func(o *machine.Options) { o.Vmlinux = r.Path("vmlinux") })},
		{"a live machine", 200, with(func(o *machine.Options) { o.Vmlinux, o.Live = r.Path("vmlinux"), true })},
		{"a search", 200, with(func(o *machine.Options) { o.Vmlinux, o.CR3 = r.Path("vmlinux"), "" })},
		{"no kernel", 200, with(func(o *machine.Options) { o.Vmlinux, o.CR3 = r.Path("vmlinux"), "0x5000" })},
		{"no source", 200, with(func(o *machine.Options) { o.Vmlinux, o.Source = r.Path("vmlinux"), filepath.Join(r.Dir, "none") })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before resources
			for i := range tc.times {
				if i == 2 { // what is made once in a process exists
					before = held(t)
				}
				if err := live(t, tc.o); (err != nil) != strings.HasPrefix(tc.name, "no ") {
					t.Fatal(err)
				}
			}
			if after := held(t); after != before {
				t.Errorf("the process holds %+v, and held %+v before", after, before)
			}
		})
	}
}
