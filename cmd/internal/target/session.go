package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/gdbstub"
	"physgdb/mmu"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// session is the machine as one debugger's connection sees it: a [gdbstub.Target]. What the client changes, the address
// space alone, is the session's own.
type session struct {
	m *Machine // not embedded: the session's end must not close it

	// space is what every thread's memory is read through, if the user chose one; nil if each thread has its own.
	space *mmu.Space
	// threads are those last listed; first is the one at their head, now the one that the client last asked about.
	threads map[gdbstub.ThreadID]*thread
	first   gdbstub.ThreadID
	now     *thread
	spaces  map[uint64]*mmu.Space // of the threads' processes, by mm_struct
	regions map[regionKey]*regionState

	physical bool // addresses are physical

	files    map[string]fileOpener // that gdb was told of as libraries
	contents map[string][]byte     // of the machine's files, as far as they were made
	held     int64                 // bytes of files that are open, see maxHeld
	ahead    readAhead
	// distrust is why no memory is shown: what the client believes of it would be wrong. Nil if all is well.
	distrust     error
	warned       bool // of distrust, in the log
	warnedPerCPU bool // of the template of per-CPU variables
	obituary     string
}

// NewSession opens the machine for one connection.
func (m *Machine) NewSession(ctx context.Context) (gdbstub.Target, error) {
	if m.live {
		return m.newLiveSession(ctx)
	}
	return m.newSession(ctx), nil
}

func (m *Machine) newSession(ctx context.Context) *session {
	s := &session{m: m, spaces: map[uint64]*mmu.Space{}, obituary: m.obituary(ctx)}
	s.ahead.on = m.Memory.cached
	if m.chosen {
		s.space = m.Space
	}
	return s
}

// forget drops what was read of the machine, which has run on or is explained better now. What the client has told and was
// told holds on: a vmlinux that does not fit fits no better later.
func (s *session) forget(ctx context.Context, now *Machine) {
	s.ahead.stop()
	s.m, s.obituary = now, now.obituary(ctx)
	s.threads, s.now, s.regions, s.contents = nil, nil, nil, nil
	s.spaces = map[uint64]*mmu.Space{}
}

func (s *session) Threads(ctx context.Context) ([]gdbstub.Thread, error) {
	all, err := s.m.threads(ctx)
	if err != nil {
		return nil, err
	}
	s.threads = make(map[gdbstub.ThreadID]*thread, len(all))
	list := make([]gdbstub.Thread, len(all))
	for i := range all {
		list[i] = all[i].Thread
		s.threads[all[i].ID] = &all[i]
	}
	s.first, s.now = all[0].ID, &all[0]
	if s.distrust != nil {
		list[0].Text = "MEMORY IS NOT SHOWN, see: monitor info"
	}
	return list, nil
}

// thread finds a thread by its number and remembers that the client looks at it.
func (s *session) thread(ctx context.Context, id gdbstub.ThreadID) (*thread, error) {
	if s.threads == nil {
		if _, err := s.Threads(ctx); err != nil {
			return nil, err
		}
	}
	t := s.threads[id]
	if t == nil {
		return nil, fmt.Errorf("there is no thread %d", id)
	}
	s.now = t
	return t, nil
}

// Registers returns what is known of a thread's registers, and the root of the address space that it is shown.
func (s *session) Registers(ctx context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	t, err := s.thread(ctx, id)
	if err != nil {
		return nil, err
	}
	regs, err := s.m.registers(ctx, t)
	if err != nil {
		return nil, err
	}
	if cr3, err := s.cr3(ctx, t); err == nil {
		regs["cr3"] = cr3
	}
	if _, ok := regs["rip"]; !ok && id == s.first {
		regs["rip"] = 0 // gdb does not connect to a thread that has no PC at all
	}
	return regs, nil
}

// cr3 returns the root of the address space that a thread is shown.
func (s *session) cr3(ctx context.Context, t *thread) (uint64, error) {
	switch {
	case s.space != nil:
		return s.space.Root().CR3, nil
	case t.task == nil:
		return s.m.Space.Root().CR3, nil
	}
	return s.m.Kernel.TaskCR3(ctx, t.task)
}

func (s *session) ReadMemory(ctx context.Context, id gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if s.distrust != nil {
		s.warnOfDistrust()
		return 0, s.distrust
	}
	if s.physical {
		return s.readPhysical(ctx, addr, p)
	}
	if inTrueReturns(addr) {
		return s.m.Kernel.ReadTrueReturns(ctx, addr+elfsynth.TrueReturns, p)
	}
	t, err := s.thread(ctx, id)
	if err != nil {
		return 0, err
	}
	space, err := s.spaceFor(ctx, t, addr)
	if err != nil {
		return 0, err
	}
	if int64(addr) < 0 && s.m.Kernel.IsPerCPU(addr) {
		return 0, s.refusePerCPU(addr)
	}
	s.ahead.await(ctx, space, addr)
	n, err := space.ReadMemory(ctx, addr, p)
	if err == nil {
		s.ahead.note(space, addr, n)
	}
	return n, err
}

// inTrueReturns reports whether an address is one at which there are stacks with their true return addresses.
func inTrueReturns(addr uint64) bool { return int64(addr) < 0 && addr&elfsynth.TrueReturns == 0 }

// refusePerCPU refuses to read the template of the per-CPU variables, whose memory is long used for something else. Debuggers
// go there for a per-CPU variable. The first time it says what to do.
func (s *session) refusePerCPU(addr uint64) error {
	err := fmt.Errorf("what lies at %#x is no CPU's: for a per-CPU variable add $gs_base to its address, or see monitor percpu", addr)
	if !s.warnedPerCPU {
		s.warnedPerCPU = true
		s.m.log.Warn("a debugger is shown no memory: " + err.Error())
	}
	return err
}

// warnOfDistrust says why a debugger is shown no memory, once it asks for some: one that was given the vmlinux by us names
// its symbols, too, before it has moved it.
func (s *session) warnOfDistrust() {
	if !s.warned {
		s.warned = true
		s.m.log.Warn("a debugger is shown no memory: " + s.distrust.Error())
	}
}

// Close ends what the session has under way.
func (s *session) Close() error {
	s.ahead.stop()
	return nil
}

// spaceFor returns what to read an address through for a thread. Kernel addresses are the same for all.
func (s *session) spaceFor(ctx context.Context, t *thread, addr uint64) (*mmu.Space, error) {
	switch {
	case s.space != nil:
		return s.space, nil
	case int64(addr) < 0:
		return s.m.Kernel.Space, nil
	}
	return s.spaceOf(ctx, t)
}

// spaceOf returns the address space of a thread's process.
func (s *session) spaceOf(ctx context.Context, t *thread) (*mmu.Space, error) {
	if t == nil || t.task == nil {
		return s.m.Space, nil
	}
	if space := s.spaces[t.task.MM]; space != nil {
		return space, nil
	}
	space, err := s.m.Kernel.TaskSpace(ctx, t.task)
	if err == nil {
		s.spaces[t.task.MM] = space
	}
	return space, err
}

// look returns the address space that the client looks at: the one that the user chose, or that of the thread that was
// last asked about.
func (s *session) look(ctx context.Context) (*mmu.Space, error) {
	if s.space != nil {
		return s.space, nil
	}
	return s.spaceOf(ctx, s.now)
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

// ExecutableFile is the kernel's vmlinux, for a gdb whose user has none.
func (s *session) ExecutableFile(ctx context.Context) (string, error) {
	if s.m.Process != "" || s.m.VmlinuxPath() == "" {
		return "", nil
	}
	return "/" + s.m.vmlinuxName(ctx), nil
}

// WantedSymbols asks gdb where it believes some parts of the kernel to be: that tells which file the user has loaded. Where
// there is no vmlinux here, gdb's tells enough to find the tasks by.
func (s *session) WantedSymbols() []string {
	if s.m.Kernel.Symbols != nil || s.m.Process != "" {
		return landmarks()
	}
	return slices.Concat(landmarks(), linux.BorrowedNames())
}

// BorrowSymbols learns which file gdb holds. Where its addresses cannot be right for this connection, no memory is shown
// from then on: a value from the wrong address looks just like a right one.
func (s *session) BorrowSymbols(ctx context.Context, found map[string]uint64) error {
	_, isKernel := found[bannerSymbol]
	s.distrust, s.warned = nil, false
	var misfit error
	if isKernel {
		misfit = s.m.checkFit(ctx, found)
	}
	switch {
	case !isKernel && s.m.Process == "":
		s.distrust = errors.New("the debugger's main file is no kernel, and it has moved it as if it were; load vmlinux as the " +
			"main file, connect again, then load the program with add-symbol-file; or serve with --cr3 hello:NAME")
	case misfit != nil && s.m.Process != "":
		s.distrust = fmt.Errorf("this connection is for the program %s, and the debugger's main file is a kernel, which "+
			"is not moved here; serve without --cr3 %s%s for it", s.m.Process, helloPrefix, s.m.Process)
	case errors.Is(misfit, errMisfit):
		s.distrust = errors.New("the debugger's vmlinux does not fit: it is of another kernel, or was loaded after connecting; " +
			"load the right one, or none, then connect again")
	case misfit != nil:
		s.distrust = fmt.Errorf("whether the debugger's vmlinux fits could not be found out: %w; connect again", misfit)
	}
	if s.distrust == nil && isKernel && s.m.Kernel.Symbols == nil && s.m.Process == "" {
		known, err := s.m.explainedBy(ctx, found)
		if err != nil {
			return err
		}
		s.forget(ctx, known)
	}
	return nil
}

// WhyHalted is what a user reads who tries to run the machine.
func (s *session) WhyHalted() string {
	switch {
	case s.m.live:
		return whyNotStepped
	case s.obituary == "":
		return "This machine is dead: it can be looked at, but it cannot run."
	}
	return fmt.Sprintf("This machine is dead (%s): it can be looked at, but it cannot run.", s.obituary)
}
