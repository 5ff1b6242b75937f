package gdbstub

import (
	"context"
	"errors"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/internal/plain"
)

// threadList is a snapshot of the Target's threads. Clients page through a list and ask about its
// members one by one; both need it unchanged.
type threadList struct {
	all    []Thread
	index  map[ThreadID]int
	listed bool // by a client
}

// errNoThreads is what a Target without threads amounts to: there is nothing to select.
var errNoThreads = errors.New("the machine has no threads to show")

// refreshThreads takes a new snapshot of an inferior's threads. If the selected thread is gone the
// first one takes its place.
func (s *session) refreshThreads(ctx context.Context, in *inferior) error {
	all, err := worker.Ask(ctx, in.worker, func(ctx context.Context, t Target) ([]Thread, error) { return t.Threads(ctx) })
	if err != nil {
		return err
	}
	list := threadList{index: make(map[ThreadID]int, len(all)), all: make([]Thread, 0, len(all))}
	for _, t := range all {
		if _, twice := list.index[t.ID]; twice || t.ID <= 0 || t.ID > maxThreadID {
			continue
		}
		list.index[t.ID] = len(list.all)
		list.all = append(list.all, t)
	}
	if out := len(all) - len(list.all); out > 0 {
		s.log.Warn("threads left out: their ids are taken or out of range", "count", out)
	}
	if len(list.all) == 0 {
		return errNoThreads
	}
	in.threads = list
	if _, alive := list.index[in.current]; !alive {
		in.current = list.all[0].ID
	}
	return nil
}

// freshThreads takes a new snapshot, unless the present one was not listed yet: the client lists
// the snapshot from which `?` was answered.
func (s *session) freshThreads(ctx context.Context, in *inferior) error {
	if len(in.threads.all) > 0 && !in.threads.listed {
		return nil
	}
	return s.refreshThreads(ctx, in)
}

// listThreads takes the snapshots that a client is about to read: of all that it debugs.
func (s *session) listThreads(ctx context.Context) error {
	s.refused = 0
	for _, in := range s.inferiors {
		if err := s.freshThreads(ctx, in); err != nil {
			return err
		}
		in.threads.listed = true
	}
	return nil
}

// needThreads takes a snapshot if there is none yet.
func (s *session) needThreads(ctx context.Context, in *inferior) error {
	if len(in.threads.all) > 0 {
		return nil
	}
	return s.refreshThreads(ctx, in)
}

// find returns what a client means by a thread-id. Any thread is the selected one.
func (s *session) find(ctx context.Context, arg []byte) (in *inferior, id ThreadID, found bool) {
	ref, valid := parseThreadID(arg)
	if !valid {
		return nil, 0, false
	}
	if in = s.attached(ref.pid); in == nil {
		return nil, 0, false
	}
	if ref.id == anyThread {
		return in, in.current, true
	}
	if s.needThreads(ctx, in) != nil {
		return nil, 0, false
	}
	_, found = in.threads.index[ref.id]
	return in, ref.id, found
}

// findOne is find for where any thread will not do.
func (s *session) findOne(ctx context.Context, arg []byte) (in *inferior, id ThreadID, found bool) {
	if ref, valid := parseThreadID(arg); !valid || ref.id == anyThread {
		return nil, 0, false
	}
	return s.find(ctx, arg)
}

// selectThread answers Hg and Hc. Hc only matters to a machine that runs.
func (s *session) selectThread(ctx context.Context, args []byte) reply {
	if len(args) == 0 || args[0] != 'g' && args[0] != 'c' {
		return text(codeRefused)
	}
	in, id, found := s.find(ctx, args[1:])
	if !found {
		return text(codeRefused)
	}
	if args[0] == 'g' {
		s.selected, in.current = in, id
	}
	return ok()
}

// isThreadAlive answers T.
func (s *session) isThreadAlive(ctx context.Context, args []byte) reply {
	if _, _, found := s.find(ctx, args); !found {
		return text(codeRefused)
	}
	return ok()
}

// currentThread answers qC.
func (s *session) currentThread(ctx context.Context) reply {
	if err := s.needThreads(ctx, s.selected); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return reply{payload: s.appendThreadID([]byte("QC"), s.selected.pid, s.selected.current)}
}

// firstThreads answers qfThreadInfo with the first part of new snapshots.
func (s *session) firstThreads(ctx context.Context) reply {
	if err := s.listThreads(ctx); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	s.unlisted = s.allThreads()
	return s.moreThreads()
}

// allThreads names the threads of all that the client debugs, as of the last snapshots.
func (s *session) allThreads() []threadRef {
	var all []threadRef
	for _, in := range s.inferiors {
		for i := range in.threads.all {
			all = append(all, threadRef{in.pid, in.threads.all[i].ID})
		}
	}
	return all
}

// threadsPerPacket keeps a list of ids (at most 20 bytes each) within one packet.
const threadsPerPacket = packetSize / 32

// moreThreads answers qsThreadInfo with the next part of the list, or l at its end.
func (s *session) moreThreads() reply {
	part := s.unlisted[:min(threadsPerPacket, len(s.unlisted))]
	if len(part) == 0 {
		s.unlisted = nil
		return text("l")
	}
	s.unlisted = s.unlisted[len(part):]
	s.out = s.appendThreadIDs(append(s.out[:0], 'm'), part)
	return reply{payload: s.out}
}

func (s *session) appendThreadIDs(dst []byte, threads []threadRef) []byte {
	for i, t := range threads {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendThreadID(dst, t.pid, t.id)
	}
	return dst
}

// threadExtraInfo answers qThreadExtraInfo, which clients ask if they do not know qXfer:threads.
func (s *session) threadExtraInfo(ctx context.Context, args []byte) reply {
	if len(args) == 0 {
		return text(codeRefused)
	}
	in, id, found := s.find(ctx, args[1:])
	if !found || s.needThreads(ctx, in) != nil {
		return text(codeRefused)
	}
	t := in.threads.all[in.threads.index[id]]
	words := plain.Line(t.Name + " " + t.Text)
	if words == "" {
		words = "thread" // an empty answer would make gdb try older packets
	}
	return reply{payload: rsp.AppendHex(nil, []byte(words))}
}
