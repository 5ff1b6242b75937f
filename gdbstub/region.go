package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// regionInfo answers qMemoryRegionInfo:<address> (lldb's docs/resources/lldbgdbremote.md). Without
// an address it asks whether the packet is known at all.
func (s *session) regionInfo(ctx context.Context, args []byte) reply {
	lister := s.selected.can.regions
	if lister == nil {
		return unsupported()
	}
	digits, ok := bytes.CutPrefix(args, []byte(":"))
	if ok && len(digits) == 0 {
		return text("OK")
	}
	addr, valid := rsp.ParseHex(digits)
	if !ok || !valid {
		return text(codeRefused)
	}
	id, err := s.selectedThread(ctx)
	if err != nil {
		return text(codeRefused)
	}
	r, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (Region, error) {
		return lister.Region(ctx, id, addr)
	})
	if err == nil && (addr < r.First || r.Last < addr) {
		err = fmt.Errorf("the target returned %#x-%#x instead", r.First, r.Last)
	}
	if err != nil {
		s.log.Debug("memory region", "address", hexAddress(addr), "error", err)
		return regionError(addr, err)
	}
	s.out = r.append(s.out[:0])
	return reply{payload: s.out}
}

// regionError is the failure in the form that lldb shows to the user: after an error code it would
// never ask again, and words alone it would take for a region without a size.
func regionError(addr uint64, err error) reply {
	payload := fmt.Appendf(nil, "start:%x;size:1;error:", addr)
	return reply{payload: append(rsp.AppendHex(payload, []byte(plainText(err.Error()))), ';')}
}

// append writes a region as lldb reads it. A region without permissions is a hole.
func (r Region) append(to []byte) []byte {
	to = fmt.Appendf(to, "start:%x;size:%x;", r.First, r.size())
	if !r.Mapped {
		return to
	}
	to = append(to, "permissions:"...)
	for _, right := range []struct {
		given  bool
		letter byte
	}{{r.Read, 'r'}, {r.Write, 'w'}, {r.Execute, 'x'}} {
		if right.given {
			to = append(to, right.letter)
		}
	}
	to = append(to, ';')
	if r.Name != "" {
		to = append(rsp.AppendHex(append(to, "name:"...), []byte(plainText(r.Name))), ';')
	}
	return to
}

// size returns how many bytes a region has. One that reaches the top of the address space is
// reported without its last byte: lldb continues until a region ends at 2^64-1, and would start
// over at an end of 2^64.
func (r Region) size() uint64 {
	size := r.Last - r.First + 1
	if r.Last == ^uint64(0) && size != 1 {
		size--
	}
	return size
}
