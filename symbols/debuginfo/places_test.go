package debuginfo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/symbols/elffile"
	"physgdb/symbols/internal/symtest"
)

const (
	testRelease = "6.1.0-56-cloud-amd64"
	testBuildID = "00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee"
)

func wantedID(t testing.TB) []byte {
	t.Helper()
	id, err := hex.DecodeString(testBuildID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// vmlinuxLike compiles a program with debug information and a build-id.
func vmlinuxLike(t testing.TB, buildID string) string {
	t.Helper()
	return symtest.Compile(t, "int main(void) { return 0; }\n", "-g", "-Wl,--build-id=0x"+buildID)
}

// strip returns a copy of a file without symbols and debug information, or without what the flags
// name.
func strip(t testing.TB, file string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "stripped")
	symtest.Tool(t, "", "strip", append(flags, "-o", out, file)...)
	return out
}

// install copies a file to a place of a tree.
func install(t testing.TB, file string, place ...string) string {
	t.Helper()
	path := filepath.Join(place...)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVmlinuxIsFoundInEveryPlace(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	buildIDFile := ".build-id/" + testBuildID[:2] + "/" + testBuildID[2:] + ".debug"
	below := []string{
		buildIDFile, "boot/vmlinux-R", "boot/vmlinux-R.debug", "lib/modules/R/vmlinux", "lib/modules/R/vmlinux.debug",
		"usr/lib/modules/R/vmlinux", "usr/lib/modules/R/vmlinux.debug", "usr/lib/modules/R/build/vmlinux",
		"usr/lib/modules/R/build/vmlinux.debug", "vmlinux-R", "vmlinux",
	}
	places := []string{
		"boot/vmlinux-R", "lib/modules/R/build/vmlinux", "usr/lib/modules/R/build/vmlinux", "lib/modules/R/vmlinux",
		"lib/modules/R/vmlinux.debug",
	}
	for _, place := range below {
		places = append(places, "usr/lib/debug/"+place, "mine/"+place)
	}
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			root := t.TempDir()
			want := install(t, full, root, strings.ReplaceAll(place, "R", testRelease))
			d := &Places{Dirs: []string{filepath.Join(root, "mine")}, root: root}
			if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

// TestVmlinuxThatFitsIsTakenInOrder adds places, each of which counts more than those before.
func TestVmlinuxThatFitsIsTakenInOrder(t *testing.T) {
	full, other := vmlinuxLike(t, testBuildID), vmlinuxLike(t, "dead"+testBuildID[4:])
	root := t.TempDir()
	d := &Places{Dirs: []string{filepath.Join(root, "b"), filepath.Join(root, "a")}, root: root}
	install(t, other, root, "b/vmlinux-"+testRelease) // counts most, but is of another build
	for _, place := range []string{
		"lib/modules/" + testRelease + "/vmlinux", "boot/vmlinux-" + testRelease, "usr/lib/debug/vmlinux",
		"usr/lib/debug/boot/vmlinux-" + testRelease, "a/vmlinux", "a/vmlinux-" + testRelease, "b/vmlinux",
	} {
		want := install(t, full, root, place)
		if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// TestVmlinuxMayBeOneHalfOfASplitFile has the half that Fedora and SUSE ship: no code, but symbols
// and DWARF.
func TestVmlinuxMayBeOneHalfOfASplitFile(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	half := filepath.Join(t.TempDir(), "half")
	symtest.Tool(t, "", "objcopy", "--only-keep-debug", full, half)
	root := t.TempDir()
	want := install(t, half, root, "usr/lib/debug/boot/vmlinux-"+testRelease+".debug")
	d := &Places{root: root}
	if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != want || err != nil {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	file, err := elffile.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := file.Lookup("main"); !ok {
		t.Error("it has no main")
	}
	if _, err := file.Lines(); err != nil {
		t.Error(err)
	}
}

func TestVmlinuxIsRefusedInOneLine(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	otherID := "dead" + testBuildID[4:]
	tests := []struct {
		name string
		make func(path string) // at /boot/vmlinux-RELEASE
		want string
	}{
		{"nothing there", func(string) {}, "there is no vmlinux in /usr/lib/debug, /boot or /lib/modules"},
		{"another build", func(path string) { install(t, vmlinuxLike(t, otherID), path) },
			"PATH is from another build: its build-id is " + otherID + ", memory has " + testBuildID},
		{"no build-id", func(path string) { install(t, symtest.Compile(t, "int main;", "-g", "-Wl,--build-id=none"), path) },
			"PATH has no build-id, so that it cannot be verified"},
		{"stripped", func(path string) { install(t, strip(t, full), path) }, "PATH has no symbol table (stripped?)"},
		{"without DWARF", func(path string) { install(t, strip(t, full, "-g"), path) },
			"PATH has no debug information (DWARF), so it adds nothing to the symbols in memory"},
		{"with DWARF that was taken away", func(path string) {
			const source = `int main(void) { return 0; }
				asm(".pushsection .debug_info, \"\", @nobits\n.skip 16\n.popsection");`
			empty := symtest.Compile(t, source, "-Wl,--build-id=0x"+testBuildID)
			if !strings.Contains(symtest.Tool(t, "", "readelf", "-SW", empty), ".debug_info       NOBITS") {
				t.Fatal("it is not empty")
			}
			install(t, empty, path)
		}, "PATH has no debug information (DWARF), so it adds nothing to the symbols in memory"},
		{"no ELF file", func(path string) { install(t, "places_test.go", path) },
			"PATH: bad magic number '[112 97 99 107]' in record at byte 0x0"},
		{"a directory", func(path string) { install(t, full, path, "vmlinux") },
			"open PATH: invalid argument: not a regular file"},
		{"a pipe", func(path string) {
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), unix.Mkfifo(path, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, "open PATH: invalid argument: not a regular file"},
		{"a link to nowhere", func(path string) {
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), os.Symlink("nowhere", path)); err != nil {
				t.Fatal(err)
			}
		}, "there is no vmlinux in /usr/lib/debug, /boot or /lib/modules"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "boot", "vmlinux-"+testRelease)
			tc.make(path)
			_, err := (&Places{root: root}).Vmlinux(t.Context(), wantedID(t), testRelease)
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("got %v", err)
			}
			want := `kernel "` + testRelease + `": no file with its debug information was found: ` +
				strings.ReplaceAll(tc.want, "PATH", path)
			want += "; DEBUGINFOD_URLS names no server to ask"
			if got := strings.ReplaceAll(err.Error(), root+"/usr", "/usr"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestEveryRefusedFileIsNamedOnce has one file under two names and another one.
func TestEveryRefusedFileIsNamedOnce(t *testing.T) {
	root := t.TempDir()
	full := vmlinuxLike(t, testBuildID)
	boot := install(t, strip(t, full), root, "boot/vmlinux-"+testRelease)
	install(t, strip(t, full, "-g"), root, "lib/modules", testRelease, "vmlinux")
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/debug"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(boot, filepath.Join(root, "usr/lib/debug/vmlinux")); err != nil {
		t.Fatal(err)
	}
	_, err := (&Places{root: root}).Vmlinux(t.Context(), wantedID(t), testRelease)
	if err == nil || strings.Count(err.Error(), "symbol table") != 1 || strings.Count(err.Error(), "DWARF") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestReleaseIsAPlainName has releases from damaged memories. None escapes the directories for
// releases, and files whose place does not depend on a release are found.
func TestReleaseIsAPlainName(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	releases := []string{"", ".", "..", "../../evil", "/evil", "6.1/../../../evil", "evil\x00", "%s", "6.1\n\xff"}
	for _, release := range releases {
		t.Run(fmt.Sprintf("%q", release), func(t *testing.T) {
			root := t.TempDir()
			install(t, full, root, "evil/vmlinux")
			install(t, full, root, "lib/vmlinux")
			install(t, full, root, "lib/modules/vmlinux")
			install(t, full, root, "usr/lib/debug/lib/evil/vmlinux")
			d := &Places{root: root}
			got, err := d.Vmlinux(t.Context(), wantedID(t), release)
			if !errors.Is(err, ErrNotFound) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("got %q, %v", got, err)
			}
			want := install(t, full, root, "usr/lib/debug/vmlinux")
			if got, err := d.Vmlinux(t.Context(), wantedID(t), release); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestBuildIDThatIsNoneFindsNothing(t *testing.T) {
	root := t.TempDir()
	install(t, symtest.Compile(t, "int main;", "-g", "-Wl,--build-id=none"), root, "usr/lib/debug/vmlinux")
	for _, id := range [][]byte{nil, {1}, bytes.Repeat([]byte{1}, 65), make([]byte, 1<<20)} {
		_, err := (&Places{root: root}).Vmlinux(t.Context(), id, testRelease)
		if !errors.Is(err, ErrNotFound) || len(err.Error()) > 300 {
			t.Errorf("%d bytes: got %.300v", len(id), err)
		}
	}
}

// TestRealVmlinuxIsCheckedInAMoment has hundreds of megabytes, of which only headers and notes are
// read.
func TestRealVmlinuxIsCheckedInAMoment(t *testing.T) {
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		readelf := symtest.Tool(t, "", "readelf", "-n", path)
		_, text, _ := strings.Cut(readelf, "Build ID: ")
		text, _, _ = strings.Cut(text, "\n")
		id, err := hex.DecodeString(strings.TrimSpace(text))
		if err != nil || len(id) == 0 {
			t.Fatalf("%v in %s", err, readelf)
		}
		begin := time.Now()
		d := &Places{Dirs: []string{filepath.Dir(path)}, root: t.TempDir()}
		if got, err := d.Vmlinux(t.Context(), id, "unknown"); got != path || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, path)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}
