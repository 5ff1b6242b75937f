package gdbstub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/gdbstub/tdesc"
)

// inferior is what a client debugs as a process: the machine as a whole, or one of its programs.
// Each has a Target of its own, and with that abilities and registers of its own.
type inferior struct {
	pid       int
	worker    *targetWorker
	can       abilities
	registers []tdesc.Register  // by number
	objects   map[string]object // of qXfer, by name

	threads threadList
	current ThreadID // chosen by Hg; 0 before the first list: the first thread
	symbols lending
	xfer    document // that is being read chunk by chunk
}

// machinePID is the number of the process that represents the whole machine. A program has the
// number that it has on the machine; the one whose number this is there cannot be attached to by
// itself.
const machinePID = 1

// maxProcesses bounds what one client attaches to at once, as each process is a Target.
const maxProcesses = 64

func (s *session) newInferior(pid int, w *targetWorker, can abilities) *inferior {
	return &inferior{
		pid: pid, worker: w, can: can, registers: can.description.Registers(), objects: s.qXferObjects(&can),
	}
}

// attached returns what the client debugs under a number, or nil; anyProcess is the one that is
// selected.
func (s *session) attached(pid int) *inferior {
	if pid == anyProcess {
		return s.selected
	}
	i := slices.IndexFunc(s.inferiors, func(in *inferior) bool { return in.pid == pid })
	if i < 0 {
		return nil
	}
	return s.inferiors[i]
}

// attach answers vAttach;<process>.
func (s *session) attach(ctx context.Context, args []byte) reply {
	if len(args) == 0 {
		return text(codeRefused)
	}
	pid, valid := parseProcess(args[1:])
	if !valid || pid == anyProcess {
		return text(codeRefused)
	}
	if s.attached(pid) != nil {
		return s.fail(codeRefused, fmt.Sprintf("process %d is attached to already", pid))
	}
	if s.settle(ctx, 0); len(s.inferiors)+len(s.leaving) >= maxProcesses {
		return s.fail(codeRefused, fmt.Sprintf("%d processes are attached to: detach from one first", maxProcesses))
	}
	in, err := s.open(ctx, pid)
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	if err := s.refreshThreads(ctx, in); err != nil {
		s.leave(ctx, in)
		return s.fail(codeRefused, err.Error())
	}
	s.inferiors = append(s.inferiors, in)
	s.client.readRegisters = false
	return s.stopReply(signalTrap, in, in.threads.all[0].ID) // whichever was selected before an earlier detach
}

// open opens what the client wants to attach to: one of the machine's programs, or the machine,
// which is open already.
func (s *session) open(ctx context.Context, pid int) (*inferior, error) {
	if pid == machinePID {
		return s.machine, nil
	}
	opener := s.machine.can.processes
	if opener == nil || !s.client.multiprocess {
		return nil, fmt.Errorf("there is no process %d, only %d, the machine", pid, machinePID)
	}
	target, err := worker.Ask(ctx, s.machine.worker, func(ctx context.Context, _ Target) (Target, error) {
		target, err := opener.OpenProcess(ctx, pid)
		if err == nil && ctx.Err() != nil { // the client no longer waits for it
			return nil, errors.Join(ctx.Err(), worker.Close(target))
		}
		return target, err
	})
	if err != nil {
		return nil, err
	}
	ready := func(context.Context) (Target, error) { return target, nil }
	w, can, err := startTarget(ctx, s.workers, ready)
	if err != nil {
		return nil, err
	}
	return s.newInferior(pid, w, can), nil
}

// detach answers D and D;<process>. What ends is never more than the session.
func (s *session) detach(ctx context.Context, args []byte) reply {
	pid, valid := parseProcess(bytes.TrimPrefix(args, []byte(";")))
	if len(args) == 0 || !s.client.multiprocess { // which makes numbers up
		pid, valid = anyProcess, true
	}
	in := s.attached(pid)
	if !valid || in == nil {
		return text(codeRefused)
	}
	s.inferiors = slices.DeleteFunc(s.inferiors, func(other *inferior) bool { return other == in })
	s.leave(ctx, in)
	return reply{payload: []byte("OK"), end: !s.extended && len(s.inferiors) == 0}
}

// kill answers vKill;<process>. Nothing here can be killed, but an error would keep the user from
// leaving.
func (s *session) kill(ctx context.Context, args []byte) reply { return s.detach(ctx, args) }

// leave closes programs that the client is done with. The machine stays open: it may be attached to
// again.
func (s *session) leave(ctx context.Context, done ...*inferior) {
	for _, in := range done {
		if s.running.in == in {
			s.running = running{}
		}
		if s.selected == in {
			s.selected = s.machine
			if len(s.inferiors) > 0 {
				s.selected = s.inferiors[0]
			}
		}
		if in != s.machine {
			in.worker.Release()
			s.leaving = append(s.leaving, in)
		}
	}
	s.settle(ctx, s.opt.Deadline/4)
}

// settle waits a while for the programs that were left to be closed. One that has a call running
// goes on counting.
func (s *session) settle(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.leaving = slices.DeleteFunc(s.leaving, func(in *inferior) bool {
		err := in.worker.Closed(ctx)
		if err != nil && err != worker.ErrStillRunning {
			s.log.Warn("process not closed", "process", in.pid, "error", err)
		}
		return err != worker.ErrStillRunning
	})
}

// close closes the programs that the session has opened.
func (s *session) close(ctx context.Context) {
	all := s.inferiors
	s.inferiors = nil
	s.leave(ctx, all...)
}

// end is close at the end of the session, which ctx may be the reason of.
func (s *session) end(ctx context.Context) {
	s.close(context.WithoutCancel(ctx))
	for _, in := range s.leaving {
		s.log.Warn("process not closed", "process", in.pid, "error", worker.ErrStillRunning)
	}
}

// parseProcess reads the number of a process; 0 means any and -1 all.
func parseProcess(digits []byte) (pid int, valid bool) {
	if string(digits) == "-1" {
		return anyProcess, true
	}
	n, ok := rsp.ParseHex(digits)
	return int(n), ok && n <= uint64(maxThreadID)
}
