package gdbstub

import (
	"context"
	"errors"
	"strings"

	"physgdb/gdbstub/rsp"
)

// threadList is a snapshot of the Target's threads. Clients page through a list and ask about its members one by
// one; both need it to hold still.
type threadList struct {
	all    []Thread
	index  map[ThreadID]int
	next   int  // of qsThreadInfo
	listed bool // by a client
}

// errNoThreads is what a Target without threads amounts to: there is nothing to select.
var errNoThreads = errors.New("the machine has no threads to show")

// refreshThreads takes a new snapshot. If the selected thread is gone the first one takes its place.
func (s *session) refreshThreads(ctx context.Context) error {
	all, err := ask(ctx, s.worker, func(ctx context.Context, t Target) ([]Thread, error) { return t.Threads(ctx) })
	if err != nil {
		return err
	}
	list := threadList{index: make(map[ThreadID]int, len(all))}
	for _, t := range all {
		if _, twice := list.index[t.ID]; twice || t.ID <= 0 || t.ID > maxThreadID {
			s.log.log.Warn("thread left out: its id is taken or out of range", "id", int64(t.ID), "name", t.Name)
			continue
		}
		list.index[t.ID] = len(list.all)
		list.all = append(list.all, t)
	}
	if len(list.all) == 0 {
		return errNoThreads
	}
	s.threads = list
	if _, alive := list.index[s.current]; !alive {
		s.current = list.all[0].ID
	}
	return nil
}

// freshThreads takes a new snapshot, unless the one at hand was not listed yet. So the one that `?` was answered from
// is also the one that the client lists right after.
func (s *session) freshThreads(ctx context.Context) error {
	if len(s.threads.all) > 0 && !s.threads.listed {
		return nil
	}
	return s.refreshThreads(ctx)
}

// listThreads takes the snapshot that a client is about to read.
func (s *session) listThreads(ctx context.Context) error {
	if err := s.freshThreads(ctx); err != nil {
		return err
	}
	s.threads.listed = true
	return nil
}

// needThreads takes a snapshot if there is none yet.
func (s *session) needThreads(ctx context.Context) error {
	if len(s.threads.all) > 0 {
		return nil
	}
	return s.refreshThreads(ctx)
}

// selectThread answers Hg and Hc. Hc only matters to a machine that runs.
func (s *session) selectThread(ctx context.Context, args []byte) reply {
	if len(args) == 0 || args[0] != 'g' && args[0] != 'c' {
		return text(codeRefused)
	}
	id, valid := parseThreadID(args[1:])
	if !valid {
		return text(codeRefused)
	}
	if id == anyThread {
		return ok()
	}
	if !s.hasThread(ctx, id) {
		return text(codeRefused)
	}
	if args[0] == 'g' {
		s.current = id
	}
	return ok()
}

// isThreadAlive answers T.
func (s *session) isThreadAlive(ctx context.Context, args []byte) reply {
	if id, valid := parseThreadID(args); !valid || !s.hasThread(ctx, id) {
		return text(codeRefused)
	}
	return ok()
}

func (s *session) hasThread(ctx context.Context, id ThreadID) bool {
	if s.needThreads(ctx) != nil {
		return false
	}
	_, found := s.threads.index[id]
	return found
}

// currentThread answers qC.
func (s *session) currentThread(ctx context.Context) reply {
	if err := s.needThreads(ctx); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return reply{payload: s.appendThreadID([]byte("QC"), s.current)}
}

// firstThreads answers qfThreadInfo with the first part of a new snapshot.
func (s *session) firstThreads(ctx context.Context) reply {
	if s.process.detached {
		return text("l")
	}
	if err := s.listThreads(ctx); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	s.threads.next = 0
	return s.moreThreads()
}

// threadsPerPacket keeps a list of ids (at most 11 bytes each) within one packet.
const threadsPerPacket = packetSize / 16

// moreThreads answers qsThreadInfo with the next part of the list, or l at its end.
func (s *session) moreThreads() reply {
	rest := s.threads.all[min(s.threads.next, len(s.threads.all)):]
	rest = rest[:min(threadsPerPacket, len(rest))]
	if len(rest) == 0 {
		return text("l")
	}
	s.threads.next += len(rest)
	s.out = append(s.out[:0], 'm')
	for i, t := range rest {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		s.out = s.appendThreadID(s.out, t.ID)
	}
	return reply{payload: s.out}
}

// threadExtraInfo answers qThreadExtraInfo, which clients ask if they do not know qXfer:threads.
func (s *session) threadExtraInfo(ctx context.Context, args []byte) reply {
	if len(args) == 0 {
		return text(codeRefused)
	}
	id, valid := parseThreadID(args[1:])
	if !valid || !s.hasThread(ctx, id) {
		return text(codeRefused)
	}
	t := s.threads.all[s.threads.index[id]]
	words := strings.TrimSpace(readable(t.Name + " " + t.Text))
	if words == "" {
		words = "thread" // an empty answer would make gdb try older packets
	}
	return reply{payload: rsp.AppendHex(nil, []byte(words))}
}
