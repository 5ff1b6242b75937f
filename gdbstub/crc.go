package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/gdbstub/internal/crc"
	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// checksumMemory answers qCRC:<address>,<length> (gdb manual, appendix E.4), gdb's
// `compare-sections`: C and the checksum of the memory at load addresses. A failure has but a code,
// whose reason goes to the log.
func (s *session) checksumMemory(ctx context.Context, args []byte) reply {
	loader := s.selected.can.loader
	if loader == nil {
		return unsupported() // gdb then reads the memory and compares by itself, at the same addresses
	}
	first, second, _ := bytes.Cut(bytes.TrimPrefix(args, []byte(":")), []byte(","))
	addr, okAddr := rsp.ParseHex(first)
	length, okLength := rsp.ParseHex(second)
	if !okAddr || !okLength || length > 0 && addr+(length-1) < addr {
		return text(codeRefused)
	}
	id, err := s.selectedThread(ctx)
	if err != nil {
		return text(codeRefused)
	}
	sum, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (uint32, error) {
		return checksumLoaded(ctx, loader, id, addr, length)
	})
	if err != nil {
		s.log.Warn("no checksum of memory", "load address", hexAddress(addr), "length", length, "error", err)
		return text(codeRefused)
	}
	return text(fmt.Sprintf("C%08x", sum))
}

// checksumLoaded reads length bytes a piece at a time, however many they are, and sums them up.
func checksumLoaded(ctx context.Context, loader LoadReader, id ThreadID, addr, length uint64) (uint32, error) {
	const piece = 1 << 20 // bytes
	p := make([]byte, min(length, piece))
	sum := crc.Initial
	for length > 0 {
		p = p[:min(length, piece)]
		if n, err := loader.ReadLoaded(ctx, id, addr, p); n < len(p) {
			return 0, fmt.Errorf("after %d bytes: %w", n, err)
		}
		sum = crc.Update(sum, p)
		addr, length = addr+uint64(len(p)), length-uint64(len(p))
	}
	return sum, nil
}
