package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// searchMemory answers qSearch:memory:<address>;<length>;<pattern, escaped> (gdb manual, appendix
// E.4), gdb's `find`: 0 if the pattern is not there, or 1,<address> of the first place. gdb then
// asks again from the next byte on.
func (s *session) searchMemory(ctx context.Context, args []byte) reply {
	searcher := s.selected.can.searcher
	if searcher == nil {
		return unsupported() // gdb then reads all the memory and searches by itself
	}
	q, valid := parseSearch(args)
	if !valid {
		return searchFailed("the request makes no sense")
	}
	id, err := s.selectedThread(ctx)
	if err != nil {
		return searchFailed(err.Error())
	}
	hit, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (searchHit, error) {
		at, found, err := searcher.SearchMemory(ctx, id, q.addr, q.length, q.pattern)
		return searchHit{at, found}, err
	})
	switch {
	case err != nil:
		return searchFailed(err.Error())
	case !hit.found:
		return text("0")
	}
	return text(fmt.Sprintf("1,%x", hit.at))
}

// searchFailed is the reply to a search that has no answer. gdb takes an error code, and in 13 an
// E.text as well, for "not found", which would be a lie. What is neither that nor an answer it
// shows: "Unknown qSearch:memory reply: …".
func searchFailed(why string) reply { return text("the search was not finished: " + plainText(why)) }

// searchRequest is what a client wants to find, and where. The pattern is its own.
type searchRequest struct {
	addr, length uint64
	pattern      []byte
}

// searchHit is where something was found, if it was.
type searchHit struct {
	at    uint64
	found bool
}

// parseSearch reads memory:<address>;<length>;<pattern>. The size of a packet bounds the pattern. A
// range that would run over the end of the address space ends there.
func parseSearch(args []byte) (q searchRequest, valid bool) {
	rest, isMemory := bytes.CutPrefix(args, []byte(":memory:"))
	part := bytes.SplitN(rest, []byte(";"), 3)
	if !isMemory || len(part) != 3 {
		return q, false
	}
	addr, okAddr := rsp.ParseHex(part[0])
	length, okLength := rsp.ParseHex(part[1])
	pattern, err := rsp.AppendUnescaped(nil, part[2])
	if room := -addr; room != 0 {
		length = min(length, room)
	}
	return searchRequest{addr, length, pattern}, okAddr && okLength && err == nil && len(pattern) > 0
}
