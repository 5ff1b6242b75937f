package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"physgdb/internal/regular"
)

// segment is a stretch of physical memory and the bytes that back it.
type segment struct {
	Range
	data []byte
	off  uint64 // of data in the files, which count as one
}

// file is a raw image of a machine's RAM, in one file or several, mapped into memory: a read costs nothing but a fault.
type file struct {
	name     string
	paths    []string
	sizes    []uint64  // of the files in bytes
	whole    bool      // no map said where the parts lie: offsets are taken for addresses
	segments []segment // sorted, not overlapping

	mu       sync.RWMutex // held to read, so that Close does not take the mappings away meanwhile
	mappings [][]byte     // one for each file; nil after Close
}

// openFile opens file:PATH, where the byte at offset A holds physical address A, or
// file:PATH?map=PA:SIZE:OFFSET,… for a file whose parts lie elsewhere (RAM split around the PCI hole). The numbers are
// hexadecimal with 0x or decimal. Further files, each given by &file=PATH, follow the first as if all were one, as the
// memories of a virtual machine's NUMA nodes do.
func openFile(_ context.Context, u *url.URL, _ *Options) (Memory, error) {
	q, err := NewQuery(u)
	if err != nil {
		return nil, err
	}
	layout, more := q.Text("map", ""), q.Texts("file")
	if err := q.Done(); err != nil {
		return nil, err
	}
	return openFiles(append([]string{u.Opaque}, more...), layout)
}

// openFiles maps files, and places their bytes as layout says.
func openFiles(paths []string, layout string) (*file, error) {
	m := &file{name: "file:" + paths[0], paths: paths, whole: layout == ""}
	for _, path := range paths[1:] {
		m.name += " + " + path
	}
	for _, path := range paths {
		if err := m.add(path); err != nil {
			m.Close()
			if len(paths) > 1 {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return nil, err
		}
	}
	var err error
	if layout == "" {
		if err = wrapped(m.mappings[0]); err != nil {
			m.Close()
			return nil, err
		}
		layout = fmt.Sprintf("0:%d:0", m.size())
	}
	if m.segments, err = m.lay(layout); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// add maps one more file after those that are mapped.
func (m *file) add(path string) error {
	f, err := regular.Open(path)
	if errors.Is(err, fs.ErrInvalid) {
		return errors.New("not a regular file: want the raw RAM of a machine")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case st.Size() == 0:
		return errors.New("the file is empty: want the raw RAM of a machine")
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map into memory: %w", err)
	}
	m.mappings, m.sizes = append(m.mappings, mapping), append(m.sizes, uint64(len(mapping)))
	return nil
}

// size returns how many bytes all files have together.
func (m *file) size() (n uint64) {
	for _, size := range m.sizes {
		n += size
	}
	return n
}

// lay places the bytes of the files in physical memory as the map= key of a URL says.
func (m *file) lay(layout string) ([]segment, error) {
	var segs []segment
	var sum uint64
	for part := range strings.SplitSeq(layout, ",") {
		pa, size, off, err := parsePart(part)
		switch all := m.size(); {
		case err != nil:
			return nil, fmt.Errorf("map=%s: %w", part, err)
		case off > all || size > all-off:
			return nil, fmt.Errorf("map=%s: reaches past the end of the file (%d bytes)", part, all)
		}
		sum += size
		for _, data := range m.pieces(off, size) {
			segs = append(segs, segment{Range{pa, pa + PhysAddr(len(data))}, data, off})
			pa, off = pa+PhysAddr(len(data)), off+uint64(len(data))
		}
	}
	if ramOf(segs).Size() != sum {
		return nil, fmt.Errorf("map=%s: parts overlap", layout)
	}
	return segs, nil
}

// parsePart reads PA:SIZE:OFFSET.
func parsePart(part string) (pa PhysAddr, size, off uint64, err error) {
	fields := strings.Split(part, ":")
	var v [3]uint64
	if len(fields) != len(v) {
		return 0, 0, 0, errors.New("want PA:SIZE:OFFSET")
	}
	for i, s := range fields {
		if v[i], err = strconv.ParseUint(s, 0, 64); err != nil {
			return 0, 0, 0, fmt.Errorf("%q is not a number", s)
		}
	}
	if v[1] == 0 || v[0]+v[1] < v[0] {
		return 0, 0, 0, errors.New("the range is empty or does not fit 64 bits")
	}
	return PhysAddr(v[0]), v[1], v[2], nil
}

// pieces returns size bytes from an offset on, a piece for each file that they lie in.
func (m *file) pieces(off, size uint64) (list [][]byte) {
	for _, mapping := range m.mappings {
		n := uint64(len(mapping))
		if off < n && size > 0 {
			take := min(size, n-off)
			list = append(list, mapping[off:off+take])
			off, size = off+take, size-take
		}
		off -= min(off, n)
	}
	return list
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
	if m.mappings == nil {
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

// Layout returns how many bytes the files have; ok is false if a map says where they lie.
func (m *file) Layout() (size uint64, ok bool) { return m.size(), m.whole }

// Lay opens the source once more, laid out as the map= key of a URL says.
func (m *file) Lay(layout string) (Memory, error) { return openFiles(m.paths, layout) }

// Data lists where the files hold data now, see [Sparse].
func (m *file) Data() RAMMap {
	var ranges []Range
	var base uint64
	for i, path := range m.paths {
		size := m.sizes[i]
		for _, e := range extents(path, size) {
			ranges = append(ranges, m.where(extent{base + e.from, base + e.to})...)
		}
		base += size
	}
	return NewRAMMap(ranges)
}

// where returns the physical memory that is backed by bytes of the files.
func (m *file) where(e extent) (list []Range) {
	for _, s := range m.segments {
		from, to := max(e.from, s.off), min(e.to, s.off+s.Size())
		if from < to {
			list = append(list, Range{s.Start + PhysAddr(from-s.off), s.Start + PhysAddr(to-s.off)})
		}
	}
	return list
}

// Close unmaps the files.
func (m *file) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, mapping := range m.mappings {
		err = errors.Join(err, unix.Munmap(mapping))
	}
	m.mappings = nil
	return err
}
