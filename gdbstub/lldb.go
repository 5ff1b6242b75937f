package gdbstub

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"physgdb/gdbstub/rsp"
)

// This file has the packets that lldb alone sends (lldb/docs/resources/lldbgdbremote.md of LLVM). gdb gets the empty
// reply to them, as to every packet that is not known.
//
// jThreadsInfo is left out: lldb asks it at each stop but the first, and with its answer is slower than without. With 8000
// threads, `continue` takes lldb 14 4.9 s of CPU time then, else 4.4 s.

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

// threadStopInfo answers qThreadStopInfo<thread-id>: why a thread has stopped, which is no reason but the stop of all. It
// tells the registers, too, as lldb goes on to ask for two or more of every thread.
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
	if known, err := s.askRegisters(ctx, id); err == nil {
		s.out = s.appendExpedited(s.out, known)
	}
	return reply{payload: append(s.out, "reason:none;"...)}
}

// appendExpedited writes the known registers, each after its number of two digits.
func (s *session) appendExpedited(dst []byte, known Registers) []byte {
	for n, r := range s.registers {
		if _, available := known[r.Name]; available && r.Bits <= 64 && n <= 0xff {
			dst = append(rsp.AppendHex(dst, []byte{byte(n)}), ':')
			dst = append(appendRegister(dst, r, known), ';')
		}
	}
	return dst
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
