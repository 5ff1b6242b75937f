package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/gdbstub"
	"physgdb/mmu"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// session is the machine as one debugger's connection sees it: a [gdbstub.Target].
type session struct {
	view

	// listed are the threads last listed; first is the one at their head.
	listed  map[gdbstub.ThreadID]*thread
	first   gdbstub.ThreadID
	regions map[regionKey]*regionState

	files    map[string]fileOpener // the libraries in the last list
	contents map[string][]byte     // of the machine's files, as far as they were made
	held     int64                 // bytes of files that are open, see maxHeld
	ahead    readAhead

	blockedLogged bool // memoryBlocked is in the log
	perCPULogged  bool // so is a read of the template of per-CPU variables
}

func newSession(ctx context.Context, m *machine.Machine, cpusOnly bool) *session {
	s := &session{view: newView(ctx, m, cpusOnly)}
	s.ahead.on = m.Memory.Cached
	if m.SpaceChosen {
		s.space = m.Space
	}
	return s
}

// reset replaces the machine, which has run on or has other symbols, and drops what was read of it.
// What the client has selected stays, and so does memoryBlocked: a vmlinux that does not fit fits
// no better later.
func (s *session) reset(ctx context.Context, now *machine.Machine) {
	s.ahead.stop()
	s.m, s.panicSummary = now, query.PanicSummary(ctx, now)
	s.listed, s.now, s.regions, s.contents = nil, nil, nil, nil
	s.spaces = map[uint64]*mmu.Space{}
}

func (s *session) Threads(ctx context.Context) ([]gdbstub.Thread, error) {
	all, err := s.threads(ctx)
	if err != nil {
		return nil, err
	}
	s.listed = make(map[gdbstub.ThreadID]*thread, len(all))
	list := make([]gdbstub.Thread, len(all))
	for i := range all {
		list[i] = all[i].Thread
		s.listed[all[i].ID] = &all[i]
	}
	s.first, s.now = all[0].ID, &all[0]
	if s.memoryBlocked != nil {
		list[0].Text = "MEMORY IS NOT SHOWN, see: monitor info"
	}
	return list, nil
}

// thread finds a thread by its number and remembers that the client looks at it.
func (s *session) thread(ctx context.Context, id gdbstub.ThreadID) (*thread, error) {
	if s.listed == nil {
		if _, err := s.Threads(ctx); err != nil {
			return nil, err
		}
	}
	t := s.listed[id]
	if t == nil {
		return nil, fmt.Errorf("there is no thread %d", id)
	}
	s.now = t
	return t, nil
}

// Registers returns what is known of a thread's registers, and the root of the address space that
// it is shown.
func (s *session) Registers(ctx context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	t, err := s.thread(ctx, id)
	if err != nil {
		return nil, err
	}
	regs, err := s.registers(ctx, t)
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

func (s *session) ReadMemory(ctx context.Context, id gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if s.memoryBlocked != nil {
		s.logBlocked()
		return 0, s.memoryBlocked
	}
	if s.physical {
		return s.readPhysical(ctx, addr, p)
	}
	if inTrueReturns(addr) {
		return s.m.Unwinder.ReadTrueReturns(ctx, addr+elfsynth.TrueReturns, p)
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

// inTrueReturns reports whether an address is one at which there are stacks with their true return
// addresses.
func inTrueReturns(addr uint64) bool { return int64(addr) < 0 && addr&elfsynth.TrueReturns == 0 }

// refusePerCPU refuses to read the template of the per-CPU variables, whose memory is long used for
// something else. Debuggers go there for a per-CPU variable. The first time it says what to do.
func (s *session) refusePerCPU(addr uint64) error {
	err := fmt.Errorf("%#x is not the address of any CPU's data; for a per-CPU variable add $gs_base to its address, or see monitor percpu", addr)
	if !s.perCPULogged {
		s.perCPULogged = true
		s.m.Log.Warn("memory is not shown to a debugger: " + err.Error())
	}
	return err
}

// logBlocked says why a debugger is shown no memory, once it asks for some: one that was given the
// vmlinux by us names its symbols, too, before it has moved it.
func (s *session) logBlocked() {
	if !s.blockedLogged {
		s.blockedLogged = true
		s.m.Log.Warn("memory is not shown to a debugger: " + s.memoryBlocked.Error())
	}
}

// Close ends what the session has under way.
func (s *session) Close() error {
	s.ahead.stop()
	return nil
}

// WriteRegister takes cr3 alone: it selects the address space that this connection reads.
func (s *session) WriteRegister(ctx context.Context, _ gdbstub.ThreadID, name string, value uint64) error {
	if name != "cr3" {
		return errors.New("the machine is dead and physgdb only reads; the only register that can be set is cr3, " +
			"to select an address space")
	}
	return s.setCR3(ctx, value)
}

// Relocation returns how far KASLR moved the kernel. A connection for a process returns nothing:
// its main file is a program at its link address, which gdb would move.
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
	return "/" + s.m.VmlinuxName(ctx), nil
}

// WantedSymbols are symbols whose addresses gdb is asked for: they show which file the user has
// loaded. If physgdb has no vmlinux, they also include those by which the tasks are found.
func (s *session) WantedSymbols() []string {
	if s.m.Kernel.Symbols != nil || s.m.Process != "" {
		return vmlinuxCheckSymbols()
	}
	return slices.Concat(vmlinuxCheckSymbols(), linux.BorrowedNames())
}

// BorrowSymbols learns which file gdb holds. Where its addresses cannot be right for this
// connection, no memory is shown from then on: a value from the wrong address looks just like a
// right one.
func (s *session) BorrowSymbols(ctx context.Context, found map[string]uint64) error {
	_, isKernel := found[bannerSymbol]
	s.memoryBlocked, s.blockedLogged = nil, false
	var misfit error
	if isKernel {
		misfit = checkVmlinux(ctx, s.m, found)
	}
	switch {
	case !isKernel && s.m.Process == "":
		s.memoryBlocked = errors.New("the debugger's main file is not a kernel, but the debugger relocated it as a kernel; load vmlinux as the " +
			"main file, connect again, then load the program with add-symbol-file; or serve with --cr3 hello:NAME")
	case misfit != nil && s.m.Process != "":
		s.memoryBlocked = fmt.Errorf("this connection is for the program %s, and the debugger's main file is a kernel, which "+
			"it does not relocate; to debug the kernel, serve without --cr3 %s%s", s.m.Process, machine.HelloPrefix, s.m.Process)
	case errors.Is(misfit, errMisfit):
		s.memoryBlocked = errors.New("the debugger's vmlinux does not fit: it is of another kernel, or was loaded after connecting; " +
			"load the right one, or none, then connect again")
	case misfit != nil:
		s.memoryBlocked = fmt.Errorf("cannot check whether the debugger's vmlinux fits: %w; connect again", misfit)
	}
	if s.memoryBlocked == nil && isKernel && s.m.Kernel.Symbols == nil && s.m.Process == "" {
		known, err := s.m.WithBorrowedSymbols(ctx, found)
		if err != nil {
			return err
		}
		s.reset(ctx, known)
	}
	return nil
}
