package host

import (
	"context"
	"errors"
	"fmt"

	"physgdb/bridge/notify"
	"physgdb/gdbstub"
	"physgdb/mmu"
)

// session is the machine as one debugger's connection sees it: a [gdbstub.Target] whose threads are the CPUs. What the
// client changes, the address space alone, is the session's own.
type session struct {
	m     *Machine   // not embedded: the session's end must not close it
	space *mmu.Space // what memory is read through
	// distrust is why no memory is shown: what the client believes of it would be wrong. Nil if all is well.
	distrust error
}

// NewSession opens the machine for one connection.
func (m *Machine) NewSession(context.Context) (gdbstub.Target, error) {
	return &session{m: m, space: m.Space}, nil
}

// threadOf numbers CPUs from 1, as thread 0 means "any" to gdb.
func threadOf(cpu int) gdbstub.ThreadID { return gdbstub.ThreadID(cpu + 1) }

func (s *session) panicked(id gdbstub.ThreadID) bool {
	return s.m.Notice != nil && id == threadOf(s.m.cpus[0])
}

func (s *session) Threads(context.Context) ([]gdbstub.Thread, error) {
	threads := make([]gdbstub.Thread, len(s.m.cpus))
	for i, cpu := range s.m.cpus {
		t := gdbstub.Thread{ID: threadOf(cpu), Name: fmt.Sprintf("CPU %d", cpu), Text: "registers not known", Core: cpu}
		switch {
		case s.panicked(t.ID):
			t.Text = s.m.obituary()
		case s.m.Notice == nil && i == 0:
			t.Text += "; the notice of a panic tells some: --notify"
		}
		if s.distrust != nil && i == 0 {
			t.Text = "MEMORY IS NOT SHOWN, see: monitor info"
		}
		threads[i] = t
	}
	return threads, nil
}

// obituary says in a line what the machine died of.
func (m *Machine) obituary() string {
	n := m.Notice
	text := "panicked"
	if n.Message != "" {
		text += ": " + oneLine(n.Message)
	}
	if n.Comm == "" {
		return text
	}
	text += "; task " + oneLine(n.Comm)
	if n.PID != nil {
		text += fmt.Sprintf(", pid %d", *n.PID)
	}
	return text
}

// Segment selectors of kernel code and data (arch/x86/include/asm/segment.h). panic() runs in the kernel.
const kernelCS, kernelDS = 0x10, 0x18

// Registers returns what is known: the registers of panic()'s frame on the CPU that panicked, by the notice, and on
// every CPU the root of the address space that this connection reads.
func (s *session) Registers(_ context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	regs := gdbstub.Registers{"cr3": s.space.Root().CR3}
	if id == threadOf(s.m.cpus[0]) {
		regs["rip"] = 0 // unless more is known: gdb does not connect to a thread that has no PC at all
	}
	if !s.panicked(id) {
		return regs, nil
	}
	n := s.m.Notice
	for name, v := range map[string]*notify.Hex{
		"rip": n.RIP, "rsp": n.RSP, "rbp": n.RBP, "rbx": n.RBX, "r12": n.R12, "r13": n.R13, "r14": n.R14, "r15": n.R15,
		"cr4": n.CR4, "efer": n.EFER, "gs_base": n.GSBase,
	} {
		if v != nil {
			regs[name] = uint64(*v)
		}
	}
	if n.RIP != nil {
		regs["cs"], regs["ss"] = kernelCS, kernelDS
	}
	return regs, nil
}

func (s *session) ReadMemory(ctx context.Context, _ gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if s.distrust != nil {
		return 0, s.distrust
	}
	return s.space.ReadMemory(ctx, addr, p)
}

// WriteRegister takes cr3 alone: it selects the address space that this connection reads.
func (s *session) WriteRegister(ctx context.Context, _ gdbstub.ThreadID, name string, value uint64) error {
	if name != "cr3" {
		return errors.New("the machine is dead and physgdb only reads; of the registers only cr3 may be set, " +
			"to select an address space")
	}
	return s.setCR3(ctx, value)
}

func (s *session) setCR3(ctx context.Context, cr3 uint64) error {
	space, err := s.m.Kernel.SpaceOf(ctx, cr3)
	if err != nil {
		return err
	}
	s.space = space
	return nil
}

// Relocation tells gdb how far KASLR moved the kernel, so that vmlinux fits. A connection rooted at a process says
// nothing: its main file is a program that lies where it was linked, and gdb would move that.
func (s *session) Relocation(context.Context) (text, slide uint64, ok bool) {
	if s.m.Process != "" {
		return 0, 0, false
	}
	return s.m.Kernel.Text, s.m.Kernel.Slide, true
}

// WantedSymbols asks gdb where it believes some parts of the kernel to be: that tells which file the user has loaded.
func (s *session) WantedSymbols() []string { return landmarks() }

// BorrowSymbols learns which file gdb holds. Where its addresses cannot be right for this connection, no memory is shown
// from then on: a value from the wrong address looks just like a right one.
func (s *session) BorrowSymbols(ctx context.Context, found map[string]uint64) error {
	_, isKernel := found[bannerSymbol]
	s.distrust = nil
	var misfit error
	if isKernel {
		misfit = s.m.checkFit(ctx, found)
	}
	switch {
	case !isKernel && s.m.Process == "":
		s.distrust = errors.New("gdb's main file is no kernel, and gdb has moved it as if it were; load vmlinux as the " +
			"main file, connect again, then load the program with add-symbol-file; or serve with --cr3 hello:NAME")
	case misfit != nil && s.m.Process != "":
		s.distrust = fmt.Errorf("this connection is for the program %s, and gdb's main file is a kernel, which "+
			"is not moved here; serve without --cr3 %s%s for it", s.m.Process, helloPrefix, s.m.Process)
	case errors.Is(misfit, errMisfit):
		s.distrust = errors.New("gdb's vmlinux does not fit: it is of another kernel, or was loaded after connecting; " +
			"load the right one, then connect again")
	case misfit != nil:
		s.distrust = fmt.Errorf("whether gdb's vmlinux fits could not be found out: %w; connect again", misfit)
	}
	if s.distrust != nil {
		s.m.log.Warn("a debugger is shown no memory: " + s.distrust.Error())
	}
	return nil
}

// WhyHalted is what a user reads who tries to run the machine.
func (s *session) WhyHalted() string {
	if s.m.Notice == nil {
		return "This machine is dead: it can be looked at, but it cannot run."
	}
	return fmt.Sprintf("This machine is dead (%s): it can be looked at, but it cannot run.", s.m.obituary())
}
