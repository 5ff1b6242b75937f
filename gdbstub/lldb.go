package gdbstub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/internal/plain"
)

// This file has the packets that lldb alone sends (lldb/docs/resources/lldbgdbremote.md of LLVM).
// gdb gets the empty reply to them, as to every packet that is not known.

// extension answers a packet by which lldb switches one of its extensions on.
func (s *session) extension(on *bool) reply {
	if !s.client.lldb {
		return unsupported()
	}
	*on = true
	return ok()
}

// hostInfo answers qHostInfo. The triple names no operating system: lldb's rules for Linux are
// those for a user program, and would look for a dynamic loader in the kernel.
func (s *session) hostInfo() reply {
	if !s.client.lldb || s.selected.can.description.Triple == "" {
		return unsupported()
	}
	return text(s.triple())
}

// processInfo answers qProcessInfo. Without it lldb takes the number of the first thread for that
// of the process.
func (s *session) processInfo() reply {
	if !s.client.lldb || s.selected.can.description.Triple == "" || len(s.inferiors) == 0 {
		return unsupported()
	}
	return text(fmt.Sprintf("pid:%x;", s.selected.pid) + s.triple())
}

func (s *session) triple() string {
	return fmt.Sprintf("triple:%x;", s.selected.can.description.Triple)
}

// errNoSuchThread answers a packet about a thread that is not in the list.
var errNoSuchThread = errors.New("there is no such thread")

// aboutThread returns the thread of a register packet, and the packet without its name: lldb names
// the thread at the end, as in `p10;thread:0002;`, while other clients have selected it before.
func (s *session) aboutThread(ctx context.Context, args []byte) (ThreadID, []byte, error) {
	rest, suffix, found := bytes.Cut(args, []byte(";thread:"))
	if !found || !s.client.threadSuffix {
		id, err := s.selectedThread(ctx)
		return id, args, err
	}
	in, id, found := s.findOne(ctx, bytes.TrimSuffix(suffix, []byte(";")))
	if !found || in != s.selected {
		return 0, nil, errNoSuchThread
	}
	return id, rest, nil
}

// threadStopInfo answers qThreadStopInfo<thread-id>: why a thread has stopped. There is no reason
// but the stop of all threads. The reply has the registers, too, as lldb next asks for two or more
// of every thread.
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

// threadInfo is an element of the answer to jThreadsInfo.
type threadInfo struct {
	TID       ThreadID          `json:"tid"`
	Name      string            `json:"name,omitempty"`
	Reason    string            `json:"reason"`
	Registers map[string]string `json:"registers,omitempty"` // hex, by number
}

// maxThreadsInfo is about how long the answer to jThreadsInfo gets, in bytes.
const maxThreadsInfo = packetSize

// threadsInfo answers jThreadsInfo, by which lldb learns after a step what else it asks of one
// thread after the other by qThreadStopInfo: with an ssh on the way that is the time of one packet
// for that of hundreds. (After a continue lldb 14 to 19 ask both.) The list ends where it gets too
// long or would come too late; of the threads that it lacks lldb asks one by one.
func (s *session) threadsInfo(ctx context.Context) reply {
	if !s.client.lldb {
		return unsupported()
	}
	if err := s.needThreads(ctx, s.selected); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	s.refused = 0
	list := []byte{'['}
	for _, t := range s.selected.threads.all {
		if len(list) > maxThreadsInfo {
			break
		}
		known, err := s.askRegisters(ctx, t.ID)
		if worker.IsNoAnswer(err) {
			break
		}
		one, err := json.Marshal(threadInfo{t.ID, plain.Line(t.Name), "none", s.expedited(known)})
		if err != nil {
			return s.fail(codeRefused, err.Error())
		}
		list = append(append(list, one...), ',')
	}
	list = append(bytes.TrimSuffix(list, []byte{','}), ']')
	s.out = rsp.AppendEscaped(s.out[:0], list)
	return reply{payload: s.out}
}

// expedited are the known registers in hex, by number.
func (s *session) expedited(known Registers) map[string]string {
	values := map[string]string{}
	for n, r := range s.selected.registers {
		if r.Available(known) {
			values[strconv.Itoa(n)] = string(r.AppendHex(nil, known))
		}
	}
	return values
}

// appendExpedited writes the known registers, each after its number of two digits.
func (s *session) appendExpedited(dst []byte, known Registers) []byte {
	for n, r := range s.selected.registers {
		if r.Available(known) && n <= 0xff {
			dst = append(rsp.AppendHex(dst, []byte{byte(n)}), ':')
			dst = append(r.AppendHex(dst, known), ';')
		}
	}
	return dst
}

// appendThreadName writes a thread's name in hex, since it may hold any bytes.
func (s *session) appendThreadName(dst []byte, t Thread) []byte {
	if t.Name == "" {
		return dst
	}
	return append(rsp.AppendHex(append(dst, "hexname:"...), []byte(plain.Line(t.Name))), ';')
}

// appendStop adds what lldb wants to know at a stop: the name of the thread, and the numbers of
// all.
func (s *session) appendStop(dst []byte, id ThreadID) []byte {
	i, found := s.selected.threads.index[id]
	if !s.client.lldb || !found {
		return dst
	}
	dst = s.appendThreadName(dst, s.selected.threads.all[i])
	if s.client.threadsInStop && len(s.selected.threads.all) <= threadsPerPacket {
		dst = append(dst, "threads:"...)
		dst = append(s.appendThreadIDs(dst, s.allThreads()), ';')
	}
	return dst
}
