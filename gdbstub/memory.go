package gdbstub

import (
	"bytes"
	"context"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// maxRead is how many bytes one request gets at most: as many as fit a packet in hex. Clients go on
// at the next address after a short answer.
const maxRead = packetSize / 2

// readMemory answers m<address>,<length> in hex digits.
func (s *session) readMemory(ctx context.Context, args []byte) reply {
	data := s.askMemory(ctx, args)
	if len(data) == 0 {
		return text(codeMemory) // gdb 13 takes words for data here
	}
	s.out = rsp.AppendHexRuns(s.out[:0], data)
	return reply{payload: s.out}
}

// readMemoryBinary answers x<address>,<length>: b and the escaped bytes for gdb (16 on,
// binary-upload+). For lldb it is the bytes alone, and it asks by x0,0 whether there is such a
// packet.
func (s *session) readMemoryBinary(ctx context.Context, args []byte) reply {
	if s.client.lldb && string(args) == "0,0" {
		return ok()
	}
	data := s.askMemory(ctx, args)
	if len(data) == 0 {
		return text(codeMemory)
	}
	if s.client.lldb {
		_, asked, _ := parseRange(args)
		s.out = rsp.AppendEscaped(s.out[:0], data)
		return reply{payload: bare(s.out, len(data) == asked)}
	}
	s.out = rsp.AppendEscaped(append(s.out[:0], 'b'), data)
	return reply{payload: s.out}
}

// askMemory reads what a request asks for and returns the bytes up to the first hole: none if there
// is an error at the first. They are valid until the next request.
func (s *session) askMemory(ctx context.Context, args []byte) []byte {
	addr, length, valid := parseRange(args)
	if !valid {
		return nil
	}
	id, err := s.selectedThread(ctx)
	if err != nil {
		return nil
	}
	if s.memory == nil {
		s.memory = make([]byte, maxRead)
	}
	p := s.memory[:length]
	n, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, t Target) (int, error) {
		return t.ReadMemory(ctx, id, addr, p)
	})
	if err != nil && s.log.IsDebug() {
		s.log.Debug("memory read", "address", hexAddress(addr), "length", length, "good", n, "error", err)
	}
	if worker.IsNoAnswer(err) {
		s.memory = nil // the call that is still running may write to it
		return nil
	}
	return p[:max(0, min(n, length))]
}

// parseRange reads <address>,<length> and cuts the length to what one reply holds and what the
// address space has.
func parseRange(args []byte) (addr uint64, length int, valid bool) {
	first, second, _ := bytes.Cut(args, []byte(","))
	addr, okAddr := rsp.ParseHex(first)
	n, okLength := rsp.ParseHex(second)
	if !okAddr || !okLength || n == 0 {
		return 0, 0, false
	}
	n = min(n, maxRead)
	if room := -addr; room != 0 { // bytes from addr to the end of the address space
		n = min(n, room)
	}
	return addr, int(n), true
}

// bare makes data fit for a reply without a mark, where lldb would take some for an error or
// another word of the protocol. It drops what is beyond the length it asked for, so a complete
// answer may have a byte more; else there is only the first byte, and lldb goes on at the next.
func bare(data []byte, complete bool) []byte {
	switch {
	case !isWord(data):
		return data
	case complete:
		return append(data, 0)
	}
	return data[:1]
}

// isWord says whether lldb might take data for more than bytes: +, -, OK, an error such as E01 with
// or without text.
func isWord(data []byte) bool {
	return len(data) == 1 && (data[0] == '+' || data[0] == '-') || string(data) == "OK" ||
		len(data) >= 3 && data[0] == 'E' && (len(data) == 3 || data[3] == ';')
}
