package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// segment is a stretch of physical memory and the bytes that back it.
type segment struct {
	Range
	data []byte
}

// file is a raw image of a machine's RAM, mapped into memory: nothing but a fault is paid for a read.
type file struct {
	name     string
	segments []segment // sorted, not overlapping

	mu      sync.RWMutex // held to read, so that Close does not take the mapping away meanwhile
	mapping []byte       // nil after Close
}

// openFile opens file:PATH, where the byte at offset A holds physical address A, or
// file:PATH?map=PA:SIZE:OFFSET,… for a file whose parts lie elsewhere (RAM split around the PCI hole). The numbers are
// hexadecimal with 0x or decimal.
func openFile(_ context.Context, u *url.URL, o *Options) (Memory, error) {
	q, err := NewQuery(u)
	if err != nil {
		return nil, err
	}
	layout := q.Text("map", "")
	if err := q.Done(); err != nil {
		return nil, err
	}
	f, err := os.Open(u.Opaque)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file: want the raw RAM of a machine")
	case st.Size() == 0:
		return nil, errors.New("the file is empty: want the raw RAM of a machine")
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map into memory: %w", err)
	}
	m := &file{name: "file:" + u.Opaque, mapping: mapping}
	if layout == "" {
		if err := wrapped(mapping); err != nil {
			m.Close()
			return nil, err
		}
	}
	if m.segments, err = layFile(layout, mapping); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// wrapped says of a file that holds RAM, but not as it is, how to get at it. It goes by what such files begin with: an ELF
// header (elf(5)), struct disk_dump_header, or makedumpfile_header if it is flattened (makedumpfile's diskdump_mod.h and
// makedumpfile.h), or LiME's header (lime.h). Real memory begins with the vectors of real mode, or with what firmware left.
func wrapped(data []byte) error {
	for _, known := range []struct{ magic, what string }{
		{"\x7fELF", "it is an ELF file, not RAM as it is: of a vmcore, say where the RAM lies by ?map=PA:SIZE:OFFSET,… with the " +
			"PhysAddr, FileSiz and Offset of each LOAD that readelf -lW shows"},
		{"KDUMP   ", compressed},
		{"DISKDUMP", compressed},
		{"makedumpfile", compressed},
		{"EMiL", "it is a dump of LiME, which goes with format=raw or padded: physgdb reads RAM as it is"},
	} {
		if bytes.HasPrefix(data, []byte(known.magic)) {
			return errors.New(known.what)
		}
	}
	return nil
}

const compressed = "it is a dump of makedumpfile or kdump, maybe compressed: physgdb reads RAM as it is; crash reads such dumps"

// layFile places the bytes of a file in physical memory as the map= key of its URL says.
func layFile(layout string, data []byte) ([]segment, error) {
	if layout == "" {
		return []segment{{Range{0, PhysAddr(len(data))}, data}}, nil
	}
	var segs []segment
	var sum uint64
	for part := range strings.SplitSeq(layout, ",") {
		fields := strings.Split(part, ":")
		var v [3]uint64
		if len(fields) != len(v) {
			return nil, fmt.Errorf("map=%s: want PA:SIZE:OFFSET", part)
		}
		for i, s := range fields {
			n, err := strconv.ParseUint(s, 0, 64)
			if err != nil {
				return nil, fmt.Errorf("map=%s: %q is not a number", part, s)
			}
			v[i] = n
		}
		pa, size, off := v[0], v[1], v[2]
		switch {
		case size == 0 || pa+size < pa:
			return nil, fmt.Errorf("map=%s: the range is empty or does not fit 64 bits", part)
		case off > uint64(len(data)) || size > uint64(len(data))-off:
			return nil, fmt.Errorf("map=%s: reaches past the end of the file (%d bytes)", part, len(data))
		}
		sum += size
		segs = append(segs, segment{Range{PhysAddr(pa), PhysAddr(pa + size)}, data[off : off+size]})
	}
	if ramOf(segs).Size() != sum {
		return nil, fmt.Errorf("map=%s: parts overlap", layout)
	}
	return segs, nil
}

func ramOf(segs []segment) RAMMap {
	ranges := make([]Range, len(segs))
	for i, s := range segs {
		ranges[i] = s.Range
	}
	return NewRAMMap(ranges)
}

func (m *file) View(addr PhysAddr, n int) ([]byte, bool) {
	data := m.from(addr)
	if n > len(data) {
		return nil, false
	}
	return data[:n:n], data != nil
}

func (m *file) ReadPhys(ctx context.Context, ops []Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mapping == nil {
		return fmt.Errorf("%s: %w", m.name, os.ErrClosed)
	}
	for i := range ops {
		op := &ops[i]
		n, err := m.read(op.Addr, op.Buf)
		op.Err = nil
		if err != nil {
			op.Err = &AccessError{op.Addr + PhysAddr(n), len(op.Buf) - n, err}
		}
	}
	return nil
}

// read copies what lies at addr, across segments that touch, and returns how much that was, and why no more.
func (m *file) read(addr PhysAddr, p []byte) (n int, err error) {
	for n < len(p) {
		data := m.from(addr + PhysAddr(n))
		if len(data) == 0 {
			return n, ErrNotRAM
		}
		data = data[:min(len(data), len(p)-n)]
		got := copyInPlace(p[n:], data)
		if n += got; got < len(data) {
			return n, ErrGone
		}
	}
	return n, nil
}

// from returns what lies from addr on in one segment, or nothing.
func (m *file) from(addr PhysAddr) []byte {
	for i := range m.segments {
		if s := &m.segments[i]; addr >= s.Start && addr < s.End {
			return s.data[addr-s.Start:]
		}
	}
	return nil
}

func (m *file) Info() Info { return Info{Name: m.name, RAM: ramOf(m.segments)} }

func (m *file) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mapping == nil {
		return nil
	}
	err := unix.Munmap(m.mapping)
	m.mapping = nil
	return err
}
