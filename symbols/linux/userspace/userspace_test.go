package userspace

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"physgdb/symbols/linux"
	"physgdb/symbols/linux/unwind"
	"physgdb/test/linuxtest"
)

var ctx = context.Background()

// newProcess makes a task with an address space.
func newProcess(t *testing.T) (w *linuxtest.World, u *unwind.Unwinder, task *linux.Task) {
	t.Helper()
	w = linuxtest.New(t, nil, nil)
	linuxtest.DefineRegisters(w.Structs)
	w.Structs.Define("mm_struct", "pgd", "task_size", "saved_auxv", 64)
	task = &linux.Task{PID: 5, MM: w.Alloc("mm_struct", 0), Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
	return w, unwind.New(w.Kernel), task
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
			w, u, task := newProcess(t)
			w.Set(task.MM, "mm_struct", "task_size", tc.taskSize)
			at := task.StackEnd() - w.Structs["pt_regs"].Size
			w.Set(at, "pt_regs", "ip", 0x401000)
			w.Set(at, "pt_regs", "cs", tc.cs)
			w.Set(at, "pt_regs", "ss", userSS)
			if got, err := ProgramABI(ctx, u, task); got != tc.want || err != nil {
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
			w, u, task := newProcess(t)
			w.Put(task.MM+w.Structs["mm_struct.saved_auxv"].Offset, tc.saved...)
			got, err := Auxv(ctx, u, task)
			if !bytes.Equal(got, tc.want) || (err != nil) != tc.unfinished {
				t.Errorf("% x, %v", got, err)
			}
		})
	}
	w, u, task := newProcess(t)
	w.Set(task.MM, "mm_struct", "task_size", 0xffffe000)
	w.Put(task.MM+w.Structs["mm_struct.saved_auxv"].Offset, 9|0x8049000<<32, 0)
	if got, err := Auxv(ctx, u, task); !bytes.Equal(got, words(9|0x8049000<<32, 0)) || err != nil {
		t.Errorf("a 32-bit program has % x, %v", got, err)
	}
	task.MM = 0
	if got, err := Auxv(ctx, u, task); len(got) > 0 || err != nil {
		t.Errorf("a thread of the kernel has % x, %v", got, err)
	}
}
