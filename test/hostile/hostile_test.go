package hostile

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	image = flag.String("image", "", "the raw memory of a real dead machine: a `file`")
	boot  = flag.String("boot", "", "boot and panic kernels of these series, a `list` such as 6.1,6.12, for their memory")
	only  = flag.String("attack", "", "run the attacks alone whose name has this in it")
)

// everywhere are the commands that run on every image.
var everywhere = [][]string{{"info"}, {"bt"}, {"info", "--report"}}

// build builds physgdb.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "physgdb")
	if out, err := exec.Command("go", "build", "-o", path, "physgdb/cmd/physgdb").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// forEachImage runs a test on the memory of real dead machines: that of -image, those of -boot, or
// none.
func forEachImage(t *testing.T, test func(t *testing.T, image string)) {
	t.Helper()
	if *image != "" {
		test(t, *image)
		return
	}
	releases := strings.FieldsFunc(*boot, func(r rune) bool { return r == ',' })
	if len(releases) == 0 {
		t.Skip("neither -image nor -boot")
	}
	for _, release := range releases {
		path, err := dead(release)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(release, func(t *testing.T) { test(t, path) })
	}
}

func TestAttacks(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) { attackAll(t, physgdb, image) })
}

// attackAll runs every attack on an image.
func attackAll(t *testing.T, physgdb, image string) {
	for _, a := range Attacks() {
		if !strings.Contains(a.Name, *only) {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			dir := t.TempDir()
			im, err := Copy(t.Context(), image, filepath.Join(dir, "ram"))
			if err != nil {
				t.Fatal(err)
			}
			err = a.Make(im)
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			said := a.Says == ""
			var stderr string
			for _, command := range append(a.Commands[:len(a.Commands):len(a.Commands)], everywhere...) {
				o := run(t, dir, physgdb, command, im.Path)
				said = said || strings.Contains(o.Stdout+o.Stderr, a.Says)
				stderr += o.Stderr
			}
			if !said {
				t.Errorf("no command says %q:\n%.1000s", a.Says, stderr)
			}
			debug(t, dir, physgdb, im.Path)
		})
	}
}

// run runs a command on an image and checks its outcome.
func run(t *testing.T, dir, physgdb string, command []string, image string) *Outcome {
	t.Helper()
	args := append([]string{physgdb, command[0], image}, command[1:]...)
	o, err := Run(t.Context(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%-40s %6.2f s %4d MB, status %d", strings.Join(command, " "), o.Took.Seconds(), o.Memory>>20, o.Status)
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	return o
}

// debug serves an image and sends the requests of debuggers.
func debug(t *testing.T, dir, physgdb, image string) {
	t.Helper()
	s, err := Serve(t.Context(), dir, physgdb, image)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	slowest, what, err := s.Debug(t.Context())
	if err != nil {
		t.Error(err)
	}
	memory := s.Watch.Peak()
	t.Logf("%-40s %6.2f s %4d MB, ready after %.2f s; the slowest: %s", "serve", slowest.Seconds(), memory>>20, s.Ready.Seconds(), what)
	if slowest > MaxAnswer || s.Ready > MaxTime || memory > MaxMemory {
		t.Errorf("serve: ready after %v, %s took %v, %d MB; want at most %v, %v, %d MB", s.Ready, what, slowest, memory>>20, MaxTime,
			MaxAnswer, MaxMemory>>20)
	}
}

func TestMachinesWithoutKernel(t *testing.T) {
	physgdb := build(t)
	for _, tc := range []struct {
		name, says string
		content    []byte
		size       int64
	}{
		{"empty", "the file is empty", nil, 0},
		{"tiny", "the source has only 3 bytes", []byte("abc"), 3},
		{"all zeros", "all zeros", nil, 512 << 20},
		{"all ones", "all ones", bytes.Repeat([]byte{0xff}, 256<<20), 256 << 20},
		{"one byte all over", "all 0x41", bytes.Repeat([]byte{'A'}, 64<<20), 64 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "ram")
			if err := os.WriteFile(path, tc.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, tc.size); err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{{"info"}, {"info", "--vmcoreinfo", "1000"}, {"serve", "--listen", "127.0.0.1:0"}} {
				o := run(t, dir, physgdb, command, path)
				if o.Status != 1 || !strings.Contains(o.Stderr, tc.says) || strings.Count(o.Stderr, "\n") != 1 || o.Took > 2*time.Second {
					t.Errorf("%v: status %d after %v, want 1 and one line with %q:\n%s", command, o.Status, o.Took, tc.says, o.Stderr)
				}
			}
		})
	}
}

func TestOutcomeIsChecked(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	o, err := Run(context.Background(), t.TempDir(), "python3", "-c", "import time; p = bytearray(600 << 20); time.sleep(0.2)")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); err == nil || o.Memory < 600<<20 {
		t.Errorf("%d MB: %v", o.Memory>>20, err)
	}
	for _, bad := range []*Outcome{
		{Args: []string{"x"}, Status: -1}, {Args: []string{"x"}, Status: 2}, {Args: []string{"x"}, Status: 1, Stderr: "goroutine 1 ["},
		{Args: []string{"x"}, Took: MaxTime + 1},
		{Args: []string{"x"}, Stdout: "a name with \x1b[2J in it"}, {Args: []string{"x"}, Stdout: "bidi \u202e in it"},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
