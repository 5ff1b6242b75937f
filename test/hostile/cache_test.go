package hostile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// keptFiles returns the files in the cache of dir that were made from kernels.
func keptFiles(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "physgdb", "kernels-*", "*", "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// view has the output of the commands on an image, and the file that symbols writes.
type view map[string]string

// costs matches the lines of info about reads, which depend on the cache.
var costs = regexp.MustCompile(`(?m)^(found by|bridge:).*\n`)

// look runs the commands whose output must not depend on the cache of dir.
func look(t *testing.T, dir, physgdb, image string) view {
	t.Helper()
	v := view{}
	for _, command := range [][]string{
		{"info"}, {"bt"}, {"ps"}, {"modules"}, {"info", "--symbols", "ram"}, {"bt", "--symbols", "ram"}, {"symbols", "-o", "made"},
	} {
		o := run(t, dir, physgdb, command, image)
		if o.Status != 0 {
			t.Errorf("%v: status %d: %s", command, o.Status, o.Stderr)
		}
		v[strings.Join(command, " ")] = costs.ReplaceAllString(o.Stdout, "")
	}
	made, err := os.ReadFile(filepath.Join(dir, "made"))
	if err != nil {
		t.Fatal(err)
	}
	v["the file made"] = string(made)
	return v
}

// poison is a way to make the cache contain wrong data for the unchanged machine.
type poison struct {
	name string
	// change changes the memory of a machine with the same build-id, from which a file is then
	// cached.
	change func(im *Image) error
	// damage changes a cached file of the unchanged machine.
	damage func(path string) error
}

// tablesOfTheKernel are the tables that files are made from, by the symbols around them.
var tablesOfTheKernel = [][2]string{
	{"kallsyms_names", "kallsyms_markers"}, {"__start_BTF", "__stop_BTF"}, {"__start_orc_unwind", "__stop_orc_unwind"},
	{"__start_orc_unwind_ip", "__stop_orc_unwind_ip"},
}

func zeroPages(im *Image) error {
	const page = 4096
	for _, table := range tablesOfTheKernel {
		p, err := between(im, table[0], table[1])
		if err != nil {
			return err
		}
		middle := len(p) / 2
		clear(p[middle:min(len(p), middle+page)])
	}
	return nil
}

func flipBits(im *Image) error {
	rng := rand.New(rand.NewPCG(11, 1))
	for _, table := range tablesOfTheKernel {
		p, err := between(im, table[0], table[1])
		if err != nil {
			return err
		}
		for range 16 {
			p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
		}
	}
	return nil
}

// edit returns a function that changes the content of a file.
func edit(change func(p []byte) []byte) func(path string) error {
	return func(path string) error {
		p, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(p), 0o600)
	}
}

func poisons() []poison {
	return []poison{
		{name: "names of functions are swapped", change: func(im *Image) error {
			_, err := swapNames(im, "vfs_write")
			return err
		}},
		{name: "pages of the tables are zeros", change: zeroPages},
		{name: "bits of the tables are flipped", change: flipBits},
		{name: "a bit of types alone is flipped", change: func(im *Image) error {
			p, err := between(im, "__start_BTF", "__stop_BTF")
			if err == nil {
				p[len(p)-100] ^= 1 // in a name
			}
			return err
		}},
		{name: "the kept file has a page of zeros", damage: edit(func(p []byte) []byte { clear(p[len(p)/2:][:4096]); return p })},
		{name: "a bit of the kept file is flipped", damage: edit(func(p []byte) []byte { p[len(p)/2] ^= 1; return p })},
		{name: "the kept file is cut", damage: edit(func(p []byte) []byte { return p[:len(p)/2] })},
		{name: "the kept file is a FIFO", damage: func(path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}},
		{name: "the description of the kept file is a FIFO", damage: func(path string) error {
			return errors.Join(os.Remove(path+".json"), syscall.Mkfifo(path+".json", 0o600))
		}},
	}
}

// TestPoisonedCache uses a cache from a changed machine with the same build-id, or with a damaged
// file. The output for the unchanged machine must be the same as with an empty cache.
func TestPoisonedCache(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		honest := look(t, t.TempDir(), physgdb, image)
		for _, p := range poisons() {
			if !strings.Contains(p.name, *only) {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				dir := t.TempDir()
				other := poisonCache(t, dir, physgdb, image, &p)
				got := look(t, dir, physgdb, image)
				for what, want := range honest {
					if got[what] != want {
						t.Errorf("%s differs:\n%.2000s\nwant:\n%.2000s", what, got[what], want)
					}
				}
				if other != nil && other["the file made"] == honest["the file made"] {
					t.Error("the file of the changed machine equals that of the unchanged one: nothing was attacked")
				}
			})
		}
	})
}

// poisonCache fills the cache in dir. It returns the view of a changed machine.
func poisonCache(t *testing.T, dir, physgdb, image string, p *poison) (changed view) {
	t.Helper()
	from := image
	if p.change != nil {
		from = filepath.Join(dir, "ram")
		im, err := Copy(t.Context(), image, from)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.change(im), im.Close()); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(from)
	}
	o := run(t, dir, physgdb, []string{"symbols", "-o", "made"}, from)
	if p.change != nil {
		made, err := os.ReadFile(filepath.Join(dir, "made"))
		if err != nil {
			t.Fatalf("%v: %s", err, o.Stderr)
		}
		changed = view{"the file made": string(made)}
	}
	for _, path := range keptFiles(t, dir) {
		t.Logf("kept: %s", filepath.Base(filepath.Dir(path)))
		if p.damage != nil {
			if err := p.damage(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(keptFiles(t, dir)) == 0 {
		t.Logf("no cached file for this machine: %.300s", o.Stderr)
		if p.damage != nil || strings.Contains(p.name, "swapped") {
			t.Error("the attack needs a cached file")
		}
	}
	return changed
}

// TestCostOfVerification prints the cost of comparing memory with the input of a cached file.
func TestCostOfVerification(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		dir := t.TempDir()
		adapter := exec.CommandContext(t.Context(), physgdb, "adapter", "--listen", "127.66.11.1", image)
		out, err := adapter.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := adapter.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { adapter.Process.Signal(os.Interrupt); adapter.Wait() }()
		if _, err := out.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		read := regexp.MustCompile(`(?m)^bridge: .*`)
		for _, source := range []string{image, "nettlp://127.66.11.1?local=127.66.11.2&requester=01:00"} {
			os.RemoveAll(filepath.Join(dir, "physgdb"))
			for _, tc := range []struct {
				name string
				args []string
			}{
				{"with an empty cache", []string{"symbols", "-o", "made"}}, {"from the cache", []string{"symbols", "-o", "made"}},
				{"no cache", []string{"info"}}, {"from the cache, trusting", []string{"info", "--trust-build-id"}},
			} {
				o := run(t, dir, physgdb, tc.args, source)
				if o.Status != 0 {
					t.Errorf("%s: %s", tc.name, o.Stderr)
				}
				t.Logf("%-30.30s %-26s %6.0f ms  %s", source, tc.name, 1000*o.Took.Seconds(), read.FindString(o.Stdout+o.Stderr))
			}
		}
		t.Logf("compared in memory: %s", sizeOfSources(t, dir))
	})
}

// sizeOfSources returns the size of the memory that a cached file was made from.
func sizeOfSources(t *testing.T, dir string) string {
	t.Helper()
	kept := keptFiles(t, dir)
	if len(kept) == 0 {
		return "nothing is kept"
	}
	text, err := os.ReadFile(kept[0] + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		About struct{ Parts []struct{ Size int } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, p := range d.About.Parts {
		sum += p.Size
	}
	return fmt.Sprintf("%.1f MiB in %d parts", float64(sum)/(1<<20), len(d.About.Parts))
}

// TestLeftoverCacheFiles checks that files of a killed command are removed, and that the cache can
// be listed and cleared.
func TestLeftoverCacheFiles(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		dir := t.TempDir()
		left := filepath.Join(dir, "physgdb", "kernels-6", "cafe", ".new-123")
		if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(left, long, long); err != nil {
			t.Fatal(err)
		}
		run(t, dir, physgdb, []string{"symbols", "-o", "made"}, image)
		if _, err := os.Stat(left); err == nil {
			t.Error("the file of a killed command still exists")
		}
		list := cacheCommand(t, dir, physgdb)
		if !strings.Contains(list, "total") || !strings.Contains(list, "1 files") {
			t.Errorf("the cache lists\n%s", list)
		}
		cacheCommand(t, dir, physgdb, "--clear")
		if kept := keptFiles(t, dir); len(kept) > 0 {
			t.Errorf("left after --clear: %q", kept)
		}
		// The file is larger than this limit: only the newest file is kept.
		for range 2 {
			run(t, dir, physgdb, []string{"symbols", "-o", "made", "--cache-limit", "1MiB"}, image)
		}
		if kept := keptFiles(t, dir); len(kept) > 1 {
			t.Errorf("kept above the limit: %q", kept)
		}
	})
}

func cacheCommand(t *testing.T, dir, physgdb string, args ...string) string {
	t.Helper()
	o, err := Run(t.Context(), dir, append([]string{physgdb, "cache"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); err != nil || o.Status != 0 {
		t.Errorf("cache %v: status %d, %v: %s", args, o.Status, err, o.Stderr)
	}
	return o.Stdout
}
