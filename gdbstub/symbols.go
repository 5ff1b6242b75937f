package gdbstub

import (
	"bytes"
	"context"
	"slices"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// lending is the state of a qSymbol exchange: gdb offers to look names up, we ask for one at a
// time.
type lending struct {
	next  int // index in the wanted names
	found map[string]uint64
}

// lendSymbol answers qSymbol (gdb manual, appendix E.4). `qSymbol::` is gdb's offer, made when it
// connects and after each file it loads; `qSymbol:<value>:<name>`, with name in hex and an empty
// value if unknown, is its answer.
func (s *session) lendSymbol(ctx context.Context, args []byte) reply {
	switch {
	case s.machine.can.borrower == nil:
		return unsupported()
	case s.selected.can.borrower == nil:
		return ok() // a client takes it badly if one process wants symbols and another does not know the packet
	}
	value, name, _ := bytes.Cut(bytes.TrimPrefix(args, []byte(":")), []byte(":"))
	if len(value) == 0 && len(name) == 0 {
		s.selected.symbols = lending{found: make(map[string]uint64)}
		return s.wantSymbol(ctx)
	}
	if s.selected.symbols.found == nil {
		return ok() // an answer to a question that was not asked
	}
	s.noteSymbol(name, value)
	return s.wantSymbol(ctx)
}

// noteSymbol keeps one answer if it is to a question of ours.
func (s *session) noteSymbol(hexName, hexValue []byte) {
	name, err := rsp.AppendUnhex(nil, hexName)
	value, known := rsp.ParseHex(hexValue)
	if err == nil && known && slices.Contains(s.selected.can.wanted, string(name)) {
		s.selected.symbols.found[string(name)] = value
	}
}

// wantSymbol asks for the next name or, when there is none, hands over what was found.
func (s *session) wantSymbol(ctx context.Context) reply {
	if s.selected.symbols.next < len(s.selected.can.wanted) {
		name := s.selected.can.wanted[s.selected.symbols.next]
		s.selected.symbols.next++
		return reply{payload: rsp.AppendHex([]byte("qSymbol:"), []byte(name))}
	}
	found, borrower := s.selected.symbols.found, s.selected.can.borrower
	s.selected.symbols = lending{}
	_, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (struct{}, error) {
		return struct{}{}, borrower.BorrowSymbols(ctx, found)
	})
	if err != nil {
		s.log.Warn("the debugger's symbols cannot be used", "error", err) // gdb would not show it
	}
	return ok()
}
