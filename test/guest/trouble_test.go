package guest

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// trouble is a way to panic and its expected results. All panic on the last CPU, to which also
// khungtaskd is pinned.
type trouble struct {
	config        Config
	comm, message string
	trace         []string
	more          func(t *testing.T, v *deadGuest)
}

// systemCall is the call trace from user space into trouble.ko.
var systemCall = []string{"trouble_write", "vfs_write", "entry_SYSCALL_64_after_hwframe"}

var troubles = []trouble{
	{
		config: Config{Release: Newest, Panic: "oops", Other: "user", Cmdline: "physgdb.check=module"},
		comm:   "init", message: "Fatal exception", trace: slices.Concat([]string{"oops_middle", "oops_outer"}, systemCall),
		more: func(t *testing.T, v *deadGuest) {
			v.testOops(t, "oops_inner", 0x18)
			v.testSpinners(t, 1)
			v.testThreads(t, map[string]int{"spinner": 1, "crowd": 0, "stuck": 0})
		},
	},
	{
		config: Config{Release: "5.10", Panic: "bug", PTI: true, Threads: 300, NoDebug: true},
		comm:   "init", message: "Fatal exception", trace: slices.Concat([]string{"bug_middle", "bug_outer"}, systemCall),
		more: func(t *testing.T, v *deadGuest) {
			v.testOops(t, "bug_inner", 0)
			v.testCrowd(t)
		},
	},
	{
		config: Config{Release: "6.12", Panic: "hung", MemoryMiB: 256},
		comm:   "khungtaskd", message: "hung_task: blocked tasks", trace: []string{"panic", "watchdog", "kthread"},
		more: func(t *testing.T, v *deadGuest) {
			hang := []string{"schedule", "hang_inner", "hang_middle", "hang_outer"}
			wantSequence(t, v.Facts.BlockedTrace, slices.Concat(hang, systemCall))
			v.testThreads(t, map[string]int{"stuck": 1})
			v.testDump(t)
		},
	},
	{
		config: Config{Release: "6.1", Panic: "irq-user"},
		comm:   "spinner", message: "trouble in an interrupt",
		trace: []string{
			"panic", "irq_inner", "irq_middle", "irq_outer", "hrtimer_interrupt", "asm_sysvec_apic_timer_interrupt",
		},
		more: func(t *testing.T, v *deadGuest) { v.testSpinners(t, 1) },
	},
	{
		config: Config{Release: "5.10", Panic: "irq", NoDebug: true},
		comm:   "swapper/1", message: "trouble in an interrupt",
		trace: []string{
			"panic", "irq_inner", "irq_middle", "irq_outer", "hrtimer_interrupt", "asm_sysvec_apic_timer_interrupt",
			"do_idle", "cpu_startup_entry", // which start_secondary ends with a jump to
		},
		more: func(*testing.T, *deadGuest) {},
	},
	{
		config: Config{Release: "6.12", Panic: "nmi", LA57: true},
		comm:   "init", message: "trouble with a deaf CPU",
		trace: slices.Concat([]string{"panic", "nmi_inner", "nmi_middle", "nmi_outer"}, systemCall),
		more: func(t *testing.T, v *deadGuest) {
			log, err := v.KernelLog()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(log, func(l LogLine) bool { return l.Text == "Shutting down cpus with NMI" }) {
				t.Error("no CPU was stopped by NMI")
			}
		},
	},
}

var releases = flag.String("releases", "", "meet trouble on kernels of all these `series`, with commas between them")

func TestTroubleModule(t *testing.T) {
	if testing.Short() {
		t.Skip("boots kernels")
	}
	for _, c := range troubles {
		for release := range strings.SplitSeq(cmp.Or(*releases, c.config.Release), ",") {
			config := c.config
			config.Release = release
			t.Run(config.Panic+" on "+release, func(t *testing.T) { c.test(t, boot(t, config)) })
		}
	}
}

func (c *trouble) test(t *testing.T, v *deadGuest) {
	if v.Facts.PanicCPU != 1 {
		t.Errorf("CPU %d panicked, want the last one", v.Facts.PanicCPU)
	}
	v.testDeath(t, c.comm, c.message, c.trace)
	v.testModule(t, "trouble", v.Kernel.Trouble)
	c.more(t, v)
}

// testOops checks that a function of trouble.ko caused the first oops; cr2 is 0 if it was not a
// page fault.
func (v *deadGuest) testOops(t *testing.T, function string, cr2 uint64) {
	rip, registers := v.Facts.OopsRIP, v.Facts.OopsRegisters
	if rip == nil || rip.Function != function || rip.Module != "trouble" {
		t.Fatalf("the oops is in %+v, want %s of trouble", rip, function)
	}
	if cr2 != 0 && registers["cr2"] != cr2 {
		t.Errorf("cr2 is %#x, want %#x", registers["cr2"], cr2)
	}
	cpu, err := v.Registers(t.Context(), v.Facts.PanicCPU)
	if err != nil {
		t.Fatal(err)
	}
	// These do not change from the oops to the end.
	for _, name := range []string{"cr3", "cr4", "fs_base", "gs_base", "cs"} {
		if registers[name] != cpu[name] {
			t.Errorf("%s was %#x in the oops, and is %#x", name, registers[name], cpu[name])
		}
	}
	// The function's address, which the log does not contain, is that of the module's code and the
	// symbol's offset in it.
	code := v.Facts.ModuleSections["trouble"][".text"] + symbols(t, v.Kernel.Trouble)[function].Value + rip.Offset
	want := map[string]string{"oops_inner": "8b4718", "bug_inner": "0f0b"}[function] // mov 0x18(%rdi),%eax; ud2
	if got := fmt.Sprintf("%x", v.read(t, code, len(want)/2)); got != want {
		t.Errorf("at %#x, %s+%#x, memory holds %s, want %s", code, function, rip.Offset, got, want)
	}
}

// testCrowd checks for exactly the configured threads.
func (v *deadGuest) testCrowd(t *testing.T) {
	var got []string
	for _, thread := range v.Facts.Threads {
		if strings.HasPrefix(thread.Comm, "crowd") {
			got = append(got, thread.Comm)
			if thread.State != "S" || thread.PPID != 1 {
				t.Errorf("%+v: want it asleep, and a child of init", thread)
			}
		}
	}
	want := []string{"crowd"}
	for i := 1; i < v.config.Threads; i++ {
		want = append(want, fmt.Sprint("crowd-", i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d threads of a crowd, want %d: %.200q…", len(got), len(want), got)
	}
}

// testSpinners searches RAM for a spinner's registers that interrupts saved: struct pt_regs of user
// mode.
func (v *deadGuest) testSpinners(t *testing.T, want int) {
	var saved []byte
	registers := SpinnerRegisters()
	for _, name := range strings.Fields("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi") {
		saved = binary.LittleEndian.AppendUint64(saved, registers[name])
	}
	address := symbols(t, v.ExtrasELF())["spinning"].Value
	saved = binary.LittleEndian.AppendUint64(saved, ^uint64(0)) // no system call
	saved = binary.LittleEndian.AppendUint64(saved, address)
	saved = binary.LittleEndian.AppendUint64(saved, 0x33) // user code
	found := bytes.Count(v.ram(t), saved)
	// One is on the task's own stack, and may be a copy of one on the CPU's stack.
	if found < want {
		t.Errorf("found %d spinners at %#x, want %d", found, address, want)
	}
}

// testDump checks that a dump is a core file with every byte of RAM and the registers of each CPU.
func (v *deadGuest) testDump(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dump")
	if err := v.Dump(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Type != elf.ET_CORE {
		t.Errorf("the dump is of type %v, want %v", f.Type, elf.ET_CORE)
	}
	ram := v.ram(t)
	seen, notes := 0, 0
	for _, p := range f.Progs {
		data, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		if p.Type == elf.PT_NOTE {
			notes += bytes.Count(data, []byte("CORE\x00"))
		}
		if p.Type != elf.PT_LOAD || p.Paddr >= uint64(len(ram)) {
			continue // the firmware, just below 4 GiB
		}
		if !bytes.Equal(data, ram[p.Paddr:][:len(data)]) {
			t.Errorf("%d bytes from %#x differ from RAM", len(data), p.Paddr)
		}
		seen += len(data)
	}
	if seen != len(ram) || notes != v.Facts.CPUs {
		t.Errorf("the dump has %d bytes of RAM and notes of %d CPUs, want %d and %d", seen, notes, len(ram), v.Facts.CPUs)
	}
}

// ram returns the guest's memory.
func (v *deadGuest) ram(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(v.RAMFile())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := syscall.Mmap(int(f.Fd()), 0, v.config.MemoryMiB<<20, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(data) })
	return data
}
