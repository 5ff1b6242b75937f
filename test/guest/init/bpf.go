package main

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attached keeps programs attached: they are detached when nothing refers to them.
var attached []any

// faultAddr is the address in the process faulter at which page faults never end; see
// test/guest/extras.
const faultAddr = 0x1_0000_0000

// traceExits attaches a program to the end of vfs_write: its trampoline is on the stack while
// vfs_write runs.
func traceExits() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "on_exit", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "vfs_write", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: prog})
	if err != nil {
		return err
	}
	attached = append(attached, prog, l)
	return nil
}

// sleepInBPF makes a process sleep in a BPF program: when it opens a file, the program copies from
// memory whose faults userfaultfd does not resolve. Programs that may sleep can be attached to few
// functions; security hooks are among them in every kernel.
func sleepInBPF() error {
	pid, open, err := startFaulter()
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "copies_late", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "GPL",
		Flags: unix.BPF_F_SLEEPABLE,
		Instructions: asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.JNE.Imm(asm.R0, int32(pid), "out"),
			asm.Mov.Reg(asm.R1, asm.RFP),
			asm.Add.Imm(asm.R1, -8),
			asm.Mov.Imm(asm.R2, 8),
			asm.LoadImm(asm.R3, faultAddr, asm.DWord),
			asm.FnCopyFromUser.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return fmt.Errorf("%+v", err)
	}
	l, err := link.AttachLSM(link.LSMOptions{Program: prog})
	if err != nil {
		return err
	}
	attached = append(attached, prog, l)
	runtime.GC() // loading has read the kernel's types, many MB
	if err := open(); err != nil {
		return err
	}
	return awaitStack(pid, "handle_userfault")
}
