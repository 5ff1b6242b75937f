package linux

import (
	"bytes"
	"encoding/binary"
	"testing"

	"physgdb/mmu"
	"physgdb/symbols"
)

// newProcess makes a task with an address space.
func newProcess(t *testing.T) (w *taskWorld, task *Task) {
	t.Helper()
	w = newTaskWorld(t, nil)
	w.Structs.Define("mm_struct", "pgd", "task_size", "saved_auxv", 64)
	w.add(5, 5)
	w.Set(w.tasks[5], "task_struct", "mm", w.Alloc("mm_struct", 0))
	l, err := w.Tasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w, withPID(t, l, 5)
}

func TestUserRegisters(t *testing.T) {
	const userCS, userSS, kernelCS = 0x33, 0x2b, 0x10
	for _, tc := range []struct {
		name       string
		padding    uint64 // at the top of the stack, in bytes
		cs, ss, ip uint64
		found      bool
	}{
		{"at the top of the stack", 0, userCS, userSS, 0x401000, true},
		{"below what FRED needs", 16, userCS, userSS, 0x401000, true},
		{"further below", 32, userCS, userSS, 0x401000, false},
		{"of the kernel", 0, kernelCS, userSS, 0x401000, false},
		{"with the kernel's stack segment", 0, userCS, 0x18, 0x401000, false},
		{"with an address of the kernel", 0, userCS, userSS, 0xffffffff81000000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, task := newProcess(t)
			at := task.StackEnd() - tc.padding - w.Structs["pt_regs"].Size
			for i, name := range []string{"r15", "bx", "di"} {
				w.Set(at, "pt_regs", name, uint64(100+i))
			}
			w.Set(at, "pt_regs", "ip", tc.ip)
			w.Set(at, "pt_regs", "cs", tc.cs)
			w.Set(at, "pt_regs", "ss", tc.ss)
			w.Set(at, "pt_regs", "orig_ax", 202)
			regs, err := w.UserRegisters(ctx, task)
			if !tc.found {
				if err == nil {
					t.Fatalf("found %+v", regs)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rdi, _ := regs.Get(symbols.RDI)
			if regs.PC() != tc.ip || rdi != 102 || regs.OrigRAX != 202 || regs.CS != userCS {
				t.Errorf("%+v", regs)
			}
		})
	}
	w, task := newProcess(t)
	task.MM = 0
	if regs, err := w.UserRegisters(ctx, task); err == nil {
		t.Errorf("a thread of the kernel has %+v", regs)
	}
}

func TestProgramABI(t *testing.T) {
	const cs64, cs32, userSS = 0x33, 0x23, 0x2b
	for _, tc := range []struct {
		name     string
		taskSize uint64
		cs       uint64 // 0 for no registers
		want     ABI
	}{
		{"64-bit", 0x7ffffffff000, cs64, AMD64},
		{"64-bit, in 32-bit code", 0x7ffffffff000, cs32, AMD64},
		{"64-bit without registers", 0x7ffffffff000, 0, AMD64},
		{"i386", 0xffffe000, cs32, I386},
		{"i386 limited to 3 GiB", 0xc0000000, cs32, I386},
		{"i386 without registers", 0xffffe000, 0, I386},
		{"x32", 0xffffe000, cs64, X32},
		{"not yet loaded", 0, cs64, AMD64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, task := newProcess(t)
			w.Set(task.MM, "mm_struct", "task_size", tc.taskSize)
			at := task.StackEnd() - w.Structs["pt_regs"].Size
			w.Set(at, "pt_regs", "ip", 0x401000)
			w.Set(at, "pt_regs", "cs", tc.cs)
			w.Set(at, "pt_regs", "ss", userSS)
			if got, err := w.ProgramABI(ctx, task); got != tc.want || err != nil {
				t.Errorf("ABI %d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

func TestAuxv(t *testing.T) {
	words := func(all ...uint64) []byte {
		var p []byte
		for _, v := range all {
			p = binary.LittleEndian.AppendUint64(p, v)
		}
		return p
	}
	for _, tc := range []struct {
		name       string
		saved      []uint64
		want       []byte
		unfinished bool
	}{
		{"it ends with AT_NULL", []uint64{9, 0x401000, 0, 0, 77, 78}, words(9, 0x401000, 0, 0), false},
		{"a value of 0 is no end", []uint64{7, 0, 0, 0}, words(7, 0, 0, 0), false},
		{"it has no end", []uint64{1, 1, 2, 2, 3, 3, 4, 4}, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, task := newProcess(t)
			w.Put(task.MM+w.Structs["mm_struct.saved_auxv"].Offset, tc.saved...)
			got, err := w.Auxv(ctx, task)
			if !bytes.Equal(got, tc.want) || (err != nil) != tc.unfinished {
				t.Errorf("% x, %v", got, err)
			}
		})
	}
	w, task := newProcess(t)
	w.Set(task.MM, "mm_struct", "task_size", 0xffffe000)
	w.Put(task.MM+w.Structs["mm_struct.saved_auxv"].Offset, 9|0x8049000<<32, 0)
	if got, err := w.Auxv(ctx, task); !bytes.Equal(got, words(9|0x8049000<<32, 0)) || err != nil {
		t.Errorf("a 32-bit program has % x, %v", got, err)
	}
	task.MM = 0
	if got, err := w.Auxv(ctx, task); len(got) > 0 || err != nil {
		t.Errorf("a thread of the kernel has % x, %v", got, err)
	}
}

// TestAgain reads a kernel that runs on: it forgets what it was, but not where it is.
func TestAgain(t *testing.T) {
	w := newTaskWorld(t, nil)
	w.add(5, 5)
	if l, err := w.Tasks(ctx); err != nil || listing(l) != "5/5 task5, 0/0 task0, 0/0 task0" {
		t.Fatal(l, err)
	}
	w.add(7, 7)
	again, err := w.Again(ctx, mmu.New(w.Fake, nil))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[*Kernel]string{
		w.Kernel: "5/5 task5, 0/0 task0, 0/0 task0", again: "5/5 task5, 7/7 task7, 0/0 task0, 0/0 task0",
	} {
		if l, err := k.Tasks(ctx); err != nil || listing(l) != want {
			t.Errorf("%v, %v; want %s", l, err, want)
		}
	}
	if again.Text != w.Text || again.Slide != w.Slide {
		t.Errorf("the kernel is at %#x with a slide of %#x", again.Text, again.Slide)
	}
}
