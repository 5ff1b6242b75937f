package gdbstub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"physgdb/gdbstub/rsp"
)

// This file has the packets that lldb alone sends (lldb/docs/resources/lldbgdbremote.md of LLVM). gdb gets the empty
// reply to them, as to every packet that is not known.

// extension answers a packet by which lldb switches one of its extensions on.
func (s *session) extension(on *bool) reply {
	if !s.client.lldb {
		return unsupported()
	}
	*on = true
	return ok()
}

// hostInfo answers qHostInfo. The triple names no operating system: lldb's rules for Linux are those for a user
// program, and would look for a dynamic loader in the kernel.
func (s *session) hostInfo() reply {
	if !s.client.lldb || s.can.description.Triple == "" {
		return unsupported()
	}
	return text(s.triple())
}

// processInfo answers qProcessInfo. Without it lldb takes the number of the first thread for that of the process.
func (s *session) processInfo() reply {
	if !s.client.lldb || s.can.description.Triple == "" || len(s.inferiors) == 0 {
		return unsupported()
	}
	return text(fmt.Sprintf("pid:%x;", s.pid) + s.triple())
}

func (s *session) triple() string { return fmt.Sprintf("triple:%x;", s.can.description.Triple) }

// errNoSuchThread answers a packet about a thread that is not in the list.
var errNoSuchThread = errors.New("there is no such thread")

// aboutThread tells which thread a register packet is about, and returns the packet without that: lldb names it at
// the end, as in `p10;thread:0002;`, while other clients have selected it before.
func (s *session) aboutThread(ctx context.Context, args []byte) (ThreadID, []byte, error) {
	rest, suffix, found := bytes.Cut(args, []byte(";thread:"))
	if !found || !s.client.threadSuffix {
		id, err := s.selected(ctx)
		return id, args, err
	}
	in, id, found := s.findOne(ctx, bytes.TrimSuffix(suffix, []byte(";")))
	if !found || in != s.inferior {
		return 0, nil, errNoSuchThread
	}
	return id, rest, nil
}

// threadStopInfo answers qThreadStopInfo<thread-id>: why a thread has stopped, which is no reason but the stop of all.
func (s *session) threadStopInfo(ctx context.Context, args []byte) reply {
	if !s.client.lldb {
		return unsupported()
	}
	in, id, found := s.findOne(ctx, args)
	if !found {
		return s.fail(codeRefused, errNoSuchThread.Error())
	}
	s.out = append(s.out[:0], "T00thread:"...)
	s.out = append(s.appendThreadID(s.out, in.pid, id), ';')
	s.out = s.appendThreadName(s.out, in.threads.all[in.threads.index[id]])
	return reply{payload: append(s.out, "reason:none;"...)}
}

// appendThreadName writes a thread's name in hex, since it may hold any bytes.
func (s *session) appendThreadName(dst []byte, t Thread) []byte {
	if t.Name == "" {
		return dst
	}
	return append(rsp.AppendHex(append(dst, "hexname:"...), []byte(readable(t.Name))), ';')
}

// appendStop adds what lldb wants to know at a stop: the name of the thread, and the numbers of all.
func (s *session) appendStop(dst []byte, id ThreadID) []byte {
	i, found := s.threads.index[id]
	if !s.client.lldb || !found {
		return dst
	}
	dst = s.appendThreadName(dst, s.threads.all[i])
	if s.client.threadsInStop && len(s.threads.all) <= threadsPerPacket {
		dst = append(dst, "threads:"...)
		dst = append(s.appendThreadIDs(dst, s.allThreads()), ';')
	}
	return dst
}

// threadInfo is what jThreadsInfo tells of one thread.
type threadInfo struct {
	ID        ThreadID          `json:"tid"`
	Name      string            `json:"name,omitempty"`
	Reason    string            `json:"reason"`
	Registers map[string]string `json:"registers,omitempty"` // by decimal number, as p would answer
}

// threadsInfo answers jThreadsInfo, which saves lldb a packet or two for every thread.
func (s *session) threadsInfo(ctx context.Context) reply {
	if !s.client.lldb {
		return unsupported()
	}
	if err := s.needThreads(ctx, s.inferior); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	known := s.askAllRegisters(ctx)
	all := make([]threadInfo, len(s.threads.all))
	for i, t := range s.threads.all {
		all[i] = threadInfo{ID: t.ID, Name: readable(t.Name), Reason: "none", Registers: s.expedite(known[t.ID])}
	}
	doc, err := json.Marshal(all)
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return reply{payload: rsp.AppendEscaped(s.out[:0], doc)}
}

// expedite picks the registers that a list of threads and the first frames of a backtrace need.
func (s *session) expedite(known Registers) map[string]string {
	picked := make(map[string]string, 3)
	for n, r := range s.registers {
		switch r.Name {
		case "rip", "rsp", "rbp":
			if _, available := known[r.Name]; available {
				picked[strconv.Itoa(n)] = string(appendRegister(nil, r, known))
			}
		}
	}
	return picked
}

// askAllRegisters returns the registers of as many threads as can be read in half the time there is: lldb asks for
// those that are missing one by one.
func (s *session) askAllRegisters(ctx context.Context) map[ThreadID]Registers {
	all, selected, budget := s.threads.all, s.current, s.opt.Deadline/2
	known, err := ask(ctx, s.worker, func(ctx context.Context, target Target) (map[ThreadID]Registers, error) {
		some, cancel := context.WithTimeout(ctx, budget)
		defer cancel()
		known := make(map[ThreadID]Registers, len(all))
		for _, t := range all {
			if some.Err() != nil {
				break
			}
			if regs, err := target.Registers(some, t.ID); err == nil {
				known[t.ID] = regs
			}
		}
		_, err := target.Registers(ctx, selected) // so that it is the last that the target was asked about
		return known, err
	})
	if err != nil {
		s.log.log.Debug("registers for the list of threads", "error", err)
	}
	return known
}
