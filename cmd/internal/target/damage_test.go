package target

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/test/guest"
	"physgdb/test/rig"
)

const (
	// grace is how long a command on a damaged machine may take to see that its time is over.
	grace = 500 * time.Millisecond
	// maxMemory is how much Go memory the whole test may take, in bytes. Garbage is collected a
	// little before, however late a busy computer would come to it: it is what is in use that must
	// fit.
	maxMemory = 256 << 20
)

// TestDamage breaks a dead machine's memory in many ways, and lets every command look at what is
// left. None may hang, crash, or take more memory than a small computer has. PHYSGDB_DAMAGE sets
// how many machines of each kernel are broken (make damage).
//
// What is broken is what the commands read of the whole machine: its page tables, tasks, lists,
// stacks and logs.
func TestDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines")
	}
	seeds := 150
	if n, err := strconv.Atoi(os.Getenv("PHYSGDB_DAMAGE")); err == nil {
		seeds = n
	}
	for _, release := range []string{"6.1", "6.12"} {
		t.Run(release, func(t *testing.T) { damage(t, release, int64(seeds)) })
	}
}

// damage breaks a machine with a kernel as often as seeds says.
func damage(t *testing.T, release string, seeds int64) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(maxMemory * 7 / 8))
	g, err := guest.Boot(ctx, guest.Config{Release: release, MemoryMiB: 256, PTI: true})
	rig.Must(t, err)
	defer g.Close()
	vmlinux := g.Kernel.Vmlinux
	healthy := newVictim(t, g.RAMFile())
	if failed := healthy.examine(t, vmlinux, true); failed > 0 {
		t.Fatalf("%d commands fail on the whole machine", failed)
	}
	t.Logf("%d places are read", len(healthy.places))

	harmMany(t, g, healthy.places, seeds, runtime.NumCPU(), func(v *victim) int { return v.examine(t, vmlinux, false) })

	// The same with what the kernel keeps about itself, where there is nothing else.
	t.Setenv("XDG_CACHE_HOME", "/dev/null") // nothing is kept
	whole := newVictim(t, g.RAMFile())
	if failed := whole.examineTables(t, true); failed > 0 {
		t.Fatalf("%d things fail on the tables of the whole machine", failed)
	}
	t.Logf("%d places are read without a vmlinux", len(whole.places))
	oneByOne := 1 // as the memory that this takes is that of one command
	harmMany(t, g, whole.places, max(1, seeds/15), oneByOne, func(v *victim) int { return v.examineTables(t, false) })
}

// harmMany breaks a machine in as many ways as seeds says, some at a time, at places that are read,
// and has each looked at by what returns how much failed.
func harmMany(t *testing.T, g *guest.Guest, places []place, seeds int64, atOnce int, examine func(*victim) int) {
	var next, failures atomic.Int64
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			v := newVictim(t, g.RAMFile())
			v.places = places
			for seed := next.Add(1); seed <= seeds && !t.Failed(); seed = next.Add(1) {
				v.seed = seed
				v.harm()
				failures.Add(int64(examine(v)))
				v.heal()
			}
		})
	}
	peak := watchMemory(t, workers.Wait)
	t.Logf("%d machines damaged; %d commands said that something was wrong; at most %d MiB of memory", seeds, failures.Load(), peak>>20)
}

// watchMemory runs f to its end and returns the most memory that Go held meanwhile.
func watchMemory(t *testing.T, f func()) (peak uint64) {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		select {
		case <-done:
			return peak
		case <-time.After(5 * time.Millisecond):
		}
		metrics.Read(sample)
		if peak = max(peak, sample[0].Value.Uint64()); peak > maxMemory && !t.Failed() {
			t.Errorf("%d MiB of memory", peak>>20) // at which f comes to its end soon
		}
	}
}

// victim is the memory of a dead machine that can be broken and mended.
type victim struct {
	ram    []byte // a private copy, page by page as it is written to
	seed   int64
	places []place // what is read
	before []broken
	mu     sync.Mutex
}

// place is a stretch of physical memory.
type place struct {
	addr bridge.PhysAddr
	size int
}

// broken is the content of a place before it was damaged.
type broken struct {
	at   uint64
	data [8]byte
}

func newVictim(t *testing.T, path string) *victim {
	f, err := os.Open(path)
	rig.Must(t, err)
	defer f.Close()
	info, err := f.Stat()
	rig.Must(t, err)
	ram, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	rig.Must(t, err)
	t.Cleanup(func() { unix.Munmap(ram) })
	return &victim{ram: ram}
}

// harm breaks some words, most of them of one kind: many bits flipped are another matter than many
// pointers that lead elsewhere.
func (v *victim) harm() {
	rng := rand.New(rand.NewPCG(uint64(v.seed), 1))
	kind := rng.IntN(6)
	for range 1 << rng.IntN(9) {
		at := v.somewhere(rng)
		w := broken{at: at}
		copy(w.data[:], v.ram[at:])
		v.before = append(v.before, w)
		p := v.ram[at : at+8]
		switch kind {
		case 0:
			p[rng.IntN(8)] ^= 1 << rng.IntN(8)
		case 1: // leads where another led
			copy(p, v.ram[v.somewhere(rng):][:8])
		case 2: // leads to itself, if it is a pointer of the direct map or of a list
			copy(p, v.ram[at^8:][:8])
		case 3:
			clear(p)
		case 4:
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
		case 5:
			p[rng.IntN(2)] += byte(1 + rng.IntN(255))
		}
	}
}

// somewhere picks a word that is read.
func (v *victim) somewhere(rng *rand.Rand) uint64 {
	p := v.places[rng.IntN(len(v.places))]
	at := uint64(p.addr) + uint64(rng.IntN(p.size))
	return min(at&^7, uint64(len(v.ram)-16))
}

// heal makes the memory as it was.
func (v *victim) heal() {
	for i := len(v.before) - 1; i >= 0; i-- {
		copy(v.ram[v.before[i].at:], v.before[i].data[:])
	}
	v.before = v.before[:0]
}

// examine lets every command look at the machine, and returns how many of them failed. If learn is
// set it notes what they read.
func (v *victim) examine(t *testing.T, vmlinux string, learn bool) (failed int) {
	var mem bridge.Memory = (*viewed)(v)
	if learn {
		mem = (*recorded)(v)
	}
	var m *machine.Machine
	if err := v.within(t, "find", func(ctx context.Context) (err error) {
		m, err = machine.AttachMemory(ctx, machine.NewMemory(mem, nil), &machine.Options{Vmlinux: vmlinux})
		return err
	}); err != nil {
		return 1
	}
	defer m.Close()
	do := func(name string, f func(ctx context.Context) error) {
		if v.within(t, name, f) != nil {
			failed++
			if learn {
				t.Errorf("%s fails", name)
			}
		}
	}
	for _, line := range [][]string{
		{"info"}, {"report"}, {"bt", "--no-lines", "all"}, {"bt", "--no-lines", "cpus"}, {"ps"}, {"dmesg"}, {"dmesg", "-T", "-n", "50"}, {"modules"}, {"cr3"},
		{"percpu", "runqueues", "all"},
	} {
		do(fmt.Sprint(line), func(ctx context.Context) error { return say(ctx, m, line) })
	}
	do("session", func(ctx context.Context) error { return debugSession(ctx, m) })
	return failed
}

// examineTables makes a file of the kernel's own tables and files of its modules, lets a few
// commands use them, and gdb load them. It returns how much failed. If learn is set it notes what
// is read.
func (v *victim) examineTables(t *testing.T, learn bool) (failed int) {
	var mem bridge.Memory = (*viewed)(v)
	if learn {
		mem = (*recorded)(v)
	}
	var m *machine.Machine
	do := func(name string, f func(ctx context.Context) error) {
		if v.withinTime(t, time.Minute, name, f) != nil {
			failed++
			if learn {
				t.Errorf("%s fails", name)
			}
		}
	}
	do("make", func(ctx context.Context) (err error) {
		m, err = machine.AttachMemory(ctx, machine.NewMemory(mem, nil), &machine.Options{Symbols: machine.SymbolsRAM, SymbolFile: true})
		if err != nil {
			return err
		}
		return m.MissingSymbols()
	})
	if m == nil {
		return failed
	}
	defer m.Close()
	if m.VmlinuxPath() == "" {
		return failed
	}
	if source := m.SymbolSource(t.Context()); source.Origin != machine.OriginMemory {
		t.Fatalf("%s was not made in this run", source.Path)
	}
	do("bt", func(ctx context.Context) error { return say(ctx, m, []string{"bt", "all"}) })
	do("modules", func(ctx context.Context) error {
		files, err := m.SymbolFiles(ctx)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Open == nil {
				continue
			}
			if _, err := f.Open(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	do("gdb", func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, "gdb", "-nx", "-batch", m.VmlinuxPath(), "-ex", "ptype struct task_struct", "-ex",
			"ptype vfs_read", "-ex", "info scope schedule", "-ex", "info types ^list_", "-ex", "info address init_task")
		err := cmd.Run()
		if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
			t.Errorf("seed %d: gdb rig.Panicked: %v", v.seed, err)
		}
		return nil
	})
	return failed
}

// say answers a line of words.
func say(ctx context.Context, m *machine.Machine, words []string) error {
	v := newView(ctx, m, false)
	return v.Monitor(ctx, io.Discard, strings.Join(words, " "))
}

// debugSession does what a debugger does: it lists the threads and looks at each one's registers
// and stack.
func debugSession(ctx context.Context, m *machine.Machine) error {
	target, err := New(m, ThreadsTasks).NewSession(ctx)
	if err != nil {
		return err
	}
	s := target.(*session)
	threads, err := s.Threads(ctx)
	if err != nil {
		return err
	}
	for _, thread := range threads {
		regs, err := s.Registers(ctx, thread.ID)
		if err != nil {
			return err
		}
		s.ReadMemory(ctx, thread.ID, regs["rsp"], make([]byte, 512))
		s.ReadMemory(ctx, thread.ID, 0x400000, make([]byte, 64))
	}
	for _, table := range s.OSTables() {
		if _, err := table.Rows(ctx); err != nil {
			return err
		}
	}
	if _, err := s.Libraries(ctx); err != nil {
		return err
	}
	_, err = s.VMCoreInfo(ctx)
	return err
}

// within runs a command and checks that it ends in time, and does not crash.
func (v *victim) within(t *testing.T, name string, f func(context.Context) error) error {
	return v.withinTime(t, 4*time.Second, name, f)
}

func (v *victim) withinTime(t *testing.T, limit time.Duration, name string, f func(context.Context) error) error {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("seed %d: %s: %v\n%s", v.seed, name, p, stackText())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	begin := time.Now()
	err := f(ctx)
	if took := time.Since(begin); took > limit+grace {
		t.Errorf("seed %d: %s took %v", v.seed, name, took)
	}
	return err
}

func stackText() []byte {
	p := make([]byte, 16<<10)
	return p[:runtime.Stack(p, false)]
}

// viewed is a victim's memory as a mapped file is.
type viewed victim

func (v *viewed) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	if uint64(addr)+uint64(n) > uint64(len(v.ram)) {
		return nil, false
	}
	return v.ram[addr : addr+bridge.PhysAddr(n)], true
}

func (v *viewed) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	for i := range ops {
		op := &ops[i]
		op.Err = nil
		n := 0
		if uint64(op.Addr) < uint64(len(v.ram)) {
			n = copy(op.Buf, v.ram[op.Addr:])
		}
		if n < len(op.Buf) {
			op.Err = &bridge.AccessError{Addr: op.Addr + bridge.PhysAddr(n), Len: len(op.Buf) - n, Err: bridge.ErrNotRAM}
		}
	}
	return ctx.Err()
}

func (v *viewed) Info() bridge.Info {
	return bridge.Info{Name: "victim", RAM: bridge.NewRAMMap([]bridge.Range{{Start: 0, End: bridge.PhysAddr(len(v.ram))}})}
}

func (v *viewed) Close() error { return nil }

// recorded is a victim's memory that notes what is read of it.
type recorded victim

func (r *recorded) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	r.note(ops)
	return (*viewed)(r).ReadPhys(ctx, ops)
}

func (r *recorded) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	r.note([]bridge.Op{{Addr: addr, Buf: make([]byte, n)}})
	return (*viewed)(r).View(addr, n)
}

func (r *recorded) note(ops []bridge.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range ops {
		if len(ops[i].Buf) > 0 {
			r.places = append(r.places, place{ops[i].Addr, len(ops[i].Buf)})
		}
	}
}

func (r *recorded) Info() bridge.Info { return (*viewed)(r).Info() }
func (r *recorded) Close() error      { return nil }
