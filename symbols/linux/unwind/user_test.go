package unwind

import (
	"testing"

	"physgdb/symbols"
)

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
			w, task := newSleeper(t)
			task.MM = 1
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
	w, task := newSleeper(t)
	if regs, err := w.UserRegisters(ctx, task); err == nil {
		t.Errorf("a thread of the kernel has %+v", regs)
	}
}
