package query

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"physgdb/bridge"
	"physgdb/cmd/internal/kept"
)

// Bytes is a line of a hex dump: at most 16 bytes of memory.
type Bytes struct {
	Addr Address `json:"addr"`
	Hex  string  `json:"hex"`  // two digits a byte
	Text string  `json:"text"` // a . for each byte that is not printable ASCII
}

// MemoryReader reads memory at a virtual or physical address. It returns how many bytes were read
// before an error.
type MemoryReader func(ctx context.Context, addr uint64, p []byte) (int, error)

// PhysicalReader returns a reader of physical addresses.
func PhysicalReader(mem bridge.Memory) MemoryReader {
	return func(ctx context.Context, addr uint64, p []byte) (int, error) {
		n, err := bridge.Read(ctx, mem, bridge.PhysAddr(addr), p, false)
		if errors.Is(err, bridge.ErrUnknownRAM) {
			err = fmt.Errorf("%w; give --ram FILE, the target's /proc/iomem", err)
		}
		return n, err
	}
}

// SaveMemory writes length bytes from addr on to a file that only its owner can read, as far as
// they can be read.
func SaveMemory(ctx context.Context, path string, read MemoryReader, addr, length uint64) error {
	return kept.WritePrivate(path, func(w io.Writer) error { return copyMemory(ctx, w, read, addr, length) })
}

// ReadBytes calls each for length bytes from addr on, as far as they can be read, 16 at a time.
func ReadBytes(ctx context.Context, read MemoryReader, addr, length uint64, each func(*Bytes) error) error {
	lines := &bytesWriter{addr: addr, each: each}
	return cmp.Or(copyMemory(ctx, lines, read, addr, length), lines.flush())
}

// copyMemory writes length bytes from addr on to w, as far as they can be read.
func copyMemory(ctx context.Context, w io.Writer, read MemoryReader, addr, length uint64) error {
	buf := make([]byte, min(length, 1<<20))
	for done := uint64(0); done < length; {
		n, err := read(ctx, addr+done, buf[:min(length-done, uint64(len(buf)))])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		done += uint64(n)
		if err != nil {
			return fmt.Errorf("%d of %d bytes: %w", done, length, err)
		}
	}
	return nil
}

// bytesWriter cuts what is written to it into lines of a hex dump.
type bytesWriter struct {
	addr uint64 // of the first byte held
	held []byte
	each func(*Bytes) error
}

const bytesPerLine = 16

func (d *bytesWriter) Write(p []byte) (int, error) {
	d.held = append(d.held, p...)
	for len(d.held) >= bytesPerLine {
		if err := d.line(d.held[:bytesPerLine]); err != nil {
			return 0, err
		}
		d.held = d.held[bytesPerLine:]
	}
	return len(p), nil
}

func (d *bytesWriter) flush() error {
	if len(d.held) == 0 {
		return nil
	}
	return d.line(d.held)
}

func (d *bytesWriter) line(b []byte) error {
	text := make([]byte, len(b))
	for i, c := range b {
		if text[i] = c; c < ' ' || c > '~' {
			text[i] = '.'
		}
	}
	line := &Bytes{Address(d.addr), hex.EncodeToString(b), string(text)}
	d.addr += uint64(len(b))
	return d.each(line)
}

// SavedMemory is memory that was written to a file.
type SavedMemory struct {
	Path string `json:"path"`
	Size uint64 `json:"size"` // bytes
}
