package dump

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

	"physgdb/bridge"
	"physgdb/internal/regular"
)

// segment is a stretch of physical memory and the bytes that back it.
type segment struct {
	bridge.Range
	data []byte
	off  uint64 // of data in the files, which count as one
}

// file is a raw image of a machine's RAM, in one file or several, mapped into memory: a read costs
// nothing but a fault.
type file struct {
	name     string
	paths    []string
	sizes    []uint64  // of the files in bytes
	whole    bool      // no map said where the parts lie: offsets are taken for addresses
	segments []segment // sorted, not overlapping

	mu       sync.RWMutex // held to read, so that Close does not take the mappings away meanwhile
	mappings [][]byte     // one for each file; nil after Close
}

// Open opens file:PATH, in which the byte at offset A is that of physical address A, or
// file:PATH?map=PA:SIZE:OFFSET,… for a file whose parts lie elsewhere (RAM split around the PCI
// hole). The numbers are hexadecimal with 0x or decimal. Each &file=PATH adds a file; all count as
// one, in their order, as the memories of a virtual machine's NUMA nodes do.
func Open(_ context.Context, u *url.URL, _ *bridge.Options) (bridge.Memory, error) {
	q, err := bridge.NewQuery(u)
	if err != nil {
		return nil, err
	}
	layout, more := q.Text("map", ""), q.Texts("file")
	if err := q.Done(); err != nil {
		return nil, err
	}
	return OpenFiles(append([]string{u.Opaque}, more...), layout)
}

// OpenFiles maps files, whose bytes count as one, and places them in physical memory as layout
// says, which has the form of the map= key of [Open]; "" means that an offset is a physical
// address.
func OpenFiles(paths []string, layout string) (bridge.Memory, error) {
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
			segs = append(segs, segment{bridge.Range{Start: pa, End: pa + bridge.PhysAddr(len(data))}, data, off})
			pa, off = pa+bridge.PhysAddr(len(data)), off+uint64(len(data))
		}
	}
	if ramOf(segs).Size() != sum {
		return nil, fmt.Errorf("map=%s: parts overlap", layout)
	}
	return segs, nil
}

// parsePart reads PA:SIZE:OFFSET.
func parsePart(part string) (pa bridge.PhysAddr, size, off uint64, err error) {
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
	return bridge.PhysAddr(v[0]), v[1], v[2], nil
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

func ramOf(segs []segment) bridge.RAMMap {
	ranges := make([]bridge.Range, len(segs))
	for i, s := range segs {
		ranges[i] = s.Range
	}
	return bridge.NewRAMMap(ranges)
}

func (m *file) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	data := m.from(addr)
	if n > len(data) {
		return nil, false
	}
	return data[:n:n], data != nil
}

func (m *file) ReadPhys(ctx context.Context, ops []bridge.Op) error {
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
			op.Err = &bridge.AccessError{Addr: op.Addr + bridge.PhysAddr(n), Len: len(op.Buf) - n, Err: err}
		}
	}
	return nil
}

// read copies what lies at addr, across segments that touch, and returns how much that was, and why
// no more.
func (m *file) read(addr bridge.PhysAddr, p []byte) (n int, err error) {
	for n < len(p) {
		data := m.from(addr + bridge.PhysAddr(n))
		if len(data) == 0 {
			return n, bridge.ErrNotRAM
		}
		data = data[:min(len(data), len(p)-n)]
		got := copyInPlace(p[n:], data)
		if n += got; got < len(data) {
			return n, bridge.ErrGone
		}
	}
	return n, nil
}

// from returns what lies from addr on in one segment, or nothing.
func (m *file) from(addr bridge.PhysAddr) []byte {
	for i := range m.segments {
		if s := &m.segments[i]; addr >= s.Start && addr < s.End {
			return s.data[addr-s.Start:]
		}
	}
	return nil
}

func (m *file) Info() bridge.Info { return bridge.Info{Name: m.name, RAM: ramOf(m.segments)} }

// Layout returns how many bytes the files have; ok is false if a map says where they lie.
func (m *file) Layout() (size uint64, ok bool) { return m.size(), m.whole }

// Lay opens the source once more, laid out as the map= key of a URL says.
func (m *file) Lay(layout string) (bridge.Memory, error) { return OpenFiles(m.paths, layout) }

// Data lists where the files hold data now, see [Sparse].
func (m *file) Data() bridge.RAMMap {
	var ranges []bridge.Range
	var base uint64
	for i, path := range m.paths {
		size := m.sizes[i]
		for _, e := range extents(path, size) {
			ranges = append(ranges, m.where(extent{base + e.from, base + e.to})...)
		}
		base += size
	}
	return bridge.NewRAMMap(ranges)
}

// where returns the physical memory that is backed by bytes of the files.
func (m *file) where(e extent) (list []bridge.Range) {
	for _, s := range m.segments {
		from, to := max(e.from, s.off), min(e.to, s.off+s.Size())
		if from < to {
			list = append(list, bridge.Range{Start: s.Start + bridge.PhysAddr(from-s.off), End: s.Start + bridge.PhysAddr(to-s.off)})
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

// copyInPlace copies src, which is shown in place, to dst and returns how much of its start that
// was: all unless some of it is gone.
func copyInPlace(dst, src []byte) (n int) {
	if bridge.InPlace(func() { n = copy(dst, src) }) == nil {
		return n
	}
	n = 0 // the order in which copy copies is not defined
	for step := 512; step > 0; step /= 8 {
		for n < len(src) && bridge.InPlace(func() { copy(dst[n:], src[n:min(len(src), n+step)]) }) == nil {
			n = min(len(src), n+step)
		}
	}
	return n
}
