package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	mutations = flag.Int("mutations", 0, "change the kernel's tables in so many ways")
	firstSeed = flag.Int("seed", 1, "the first seed of -mutations")
)

// The limits for debuggers on files that are made from changed tables.
const (
	debuggerMemory = 1 << 30 // bytes
	debuggerTime   = MaxTime
)

// TestMutations changes the kernel's tables in many ways, each by a seed. If symbol files are made
// from a table, they are loaded into gdb and lldb; the others are read by the commands, by a
// client, and sometimes by gdb.
func TestMutations(t *testing.T) {
	if *mutations == 0 {
		t.Skip("no -mutations")
	}
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		m := &mutator{physgdb: physgdb, ran: map[string]int{}}
		var next atomic.Int64
		var workers sync.WaitGroup
		const atOnce = 2
		for range atOnce {
			dir := t.TempDir()
			im, err := Copy(t.Context(), image, filepath.Join(dir, "ram"))
			if err != nil {
				t.Fatal(err)
			}
			workers.Go(func() {
				defer im.Close()
				m.work(t, im, dir, &next)
			})
		}
		workers.Wait()
		t.Log(m.report())
	})
}

// mutator runs programs on mutations and counts them.
type mutator struct {
	physgdb string

	mu                       sync.Mutex
	ran                      map[string]int // by kind, and by program
	ours, debuggers          int            // the most memory, in bytes
	slowest, slowestDebugger time.Duration
}

func (m *mutator) work(t *testing.T, im *Image, dir string, next *atomic.Int64) {
	kinds, err := Kinds(im)
	if err != nil {
		t.Error(err)
		return
	}
	for !t.Failed() {
		n := int(next.Add(1))
		if n > *mutations {
			return
		}
		seed := *firstSeed + n - 1
		kind, undo := Mutate(im, kinds, uint64(seed))
		if err := m.try(t.Context(), im, dir, kind, seed); err != nil {
			t.Errorf("seed %d (%s): %v", seed, kind.Name, err)
		}
		undo()
		m.count(kind.Name)
		if n%50 == 0 {
			t.Log(m.report())
		}
	}
}

func (m *mutator) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ran[what]++
}

func (m *mutator) report() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for what, n := range m.ran {
		all = append(all, fmt.Sprintf("%s %d", what, n))
	}
	sort.Strings(all)
	return fmt.Sprintf("%s; physgdb: at most %d MB, %.1f s; debuggers: at most %d MB, %.1f s", strings.Join(all, ", "), m.ours>>20,
		m.slowest.Seconds(), m.debuggers>>20, m.slowestDebugger.Seconds())
}

// try runs the programs that read a kind of tables.
func (m *mutator) try(ctx context.Context, im *Image, dir string, kind *Kind, seed int) error {
	if kind.Made {
		return m.load(ctx, im, dir)
	}
	commands := [][]string{{"info", "--report"}, {"ps"}, {"bt", "all"}, {"dmesg"}}
	if err := m.run(ctx, dir, im.Path, commands[seed%len(commands)]); err != nil {
		return err
	}
	s, err := Serve(ctx, dir, m.physgdb, im.Path)
	if err != nil {
		return m.refused(err)
	}
	defer s.Stop()
	slowest, what, err := s.Debug(ctx)
	m.count("clients")
	if err != nil {
		return err
	}
	if slowest > MaxAnswer || s.Watch.Peak() > MaxMemory {
		return fmt.Errorf("serve: %v for %s, %d MB", slowest, what, s.Watch.Peak()>>20)
	}
	const sometimes = 10
	if seed%sometimes != 0 {
		return nil
	}
	return m.debugger(ctx, dir, "gdb", "-nx", "-batch", "-ex", "set sysroot target:", "-ex", "target remote "+s.address, "-ex", "bt 50",
		"-ex", "info threads", "-ex", "info sharedlibrary", "-ex", "p init_task.comm")
}

// refused returns the error of a server that did not start, or nil if it printed an error, for
// example because no kernel was found.
func (m *mutator) refused(err error) error {
	m.count("refused")
	if text := err.Error(); strings.Contains(text, "goroutine ") || !strings.Contains(text, "physgdb: ") {
		return err
	}
	return nil
}

// load makes symbol files and loads them into debuggers.
func (m *mutator) load(ctx context.Context, im *Image, dir string) error {
	old, _ := filepath.Glob(filepath.Join(dir, "modules", "*"))
	if err := exec.Command("rm", append([]string{"-rf", filepath.Join(dir, "made"), filepath.Join(dir, "physgdb")}, old...)...).Run(); err != nil {
		return err
	}
	if err := m.run(ctx, dir, im.Path, []string{"symbols", "-o", "made", "--modules-to", "modules"}); err != nil {
		return err
	}
	made := filepath.Join(dir, "made")
	if found, _ := filepath.Glob(made); len(found) == 0 {
		m.count("refused")
		return nil
	}
	ask := []string{"ptype struct task_struct", "info address init_task", "info scope schedule", "ptype vfs_read", "info types ^list_"}
	files, _ := filepath.Glob(filepath.Join(dir, "modules", "*.ko"))
	for _, file := range files {
		ask = append(ask, "add-symbol-file "+file, "info line init_module")
	}
	args := []string{"-nx", "-batch", made}
	for _, a := range ask {
		args = append(args, "-ex", a)
	}
	if err := m.debugger(ctx, dir, "gdb", args...); err != nil {
		return err
	}
	args = []string{"-x", "-b", made, "-o", "image lookup -t task_struct", "-o", "image lookup -n schedule", "-o", "image lookup -s init_task",
		"-o", "image show-unwind -n schedule"}
	for _, file := range files {
		args = append(args, "-o", "target modules add "+file)
	}
	return m.debugger(ctx, dir, "lldb-14", args...)
}

func (m *mutator) run(ctx context.Context, dir, image string, command []string) error {
	o, err := Run(ctx, dir, append([]string{m.physgdb, command[0], image}, command[1:]...)...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.ours, m.slowest = max(m.ours, o.Memory), max(m.slowest, o.Took)
	m.mu.Unlock()
	m.count("commands")
	return o.Check()
}

// debugger runs a debugger and checks its end, but not its output.
func (m *mutator) debugger(ctx context.Context, dir, name string, args ...string) error {
	o, err := Run(ctx, dir, append([]string{name}, args...)...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.debuggers, m.slowestDebugger = max(m.debuggers, o.Memory), max(m.slowestDebugger, o.Took)
	m.mu.Unlock()
	m.count(name)
	switch {
	case o.Status < 0:
		return fmt.Errorf("%s died after %v: %s", name, o.Took, o.Stderr)
	case strings.Contains(o.Stderr, "internal-error") || strings.Contains(o.Stderr, "Stack dump"):
		return fmt.Errorf("%s: %s", name, o.Stderr)
	case o.Memory > debuggerMemory:
		return fmt.Errorf("%s took %d MB", name, o.Memory>>20)
	case o.Took > debuggerTime:
		return errors.New(name + " took " + o.Took.String())
	}
	return nil
}

// TestMutationsAreReverted checks that a seed always makes the same change, and that undo reverts
// it.
func TestMutationsAreReverted(t *testing.T) {
	ram := make([]byte, 1<<16)
	for i := range ram {
		ram[i] = byte(i * 7)
	}
	im := &Image{RAM: append([]byte(nil), ram...)}
	kinds := []Kind{{Name: "a", Places: []Place{{0, 4096}, {8192, 100}}}, {Name: "b", Places: []Place{{1<<16 - 64, 64}}}}
	changed := 0
	for seed := range uint64(200) {
		_, undo := Mutate(im, kinds, seed)
		once := string(im.RAM)
		if once != string(ram) {
			changed++
		}
		undo()
		if string(im.RAM) != string(ram) {
			t.Fatalf("seed %d was not reverted", seed)
		}
		_, undo = Mutate(im, kinds, seed)
		if string(im.RAM) != once {
			t.Errorf("seed %d changes something else the next time", seed)
		}
		undo()
	}
	if changed < 190 {
		t.Errorf("only %d of 200 seeds change something", changed)
	}
}
