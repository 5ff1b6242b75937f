package bridge

import (
	"errors"

	"golang.org/x/sys/unix"

	"physgdb/internal/regular"
)

// Sparse is the optional ability to report where memory holds data: a file with holes.
type Sparse interface {
	// Data lists where there may be anything but zeros.
	Data() RAMMap
}

// Unlaid is the optional ability to place the bytes of a source elsewhere in physical memory.
type Unlaid interface {
	// Layout returns how many bytes there are. ok is false if the source's URL says where they lie.
	Layout() (size uint64, ok bool)
	// Lay opens the source once more, laid out as the map= key of its URL says.
	Lay(layout string) (Memory, error)
}

// DataOf returns where m may hold anything but zeros: all RAM if it does not implement Sparse.
func DataOf(m Memory) RAMMap {
	if s, ok := m.(Sparse); ok {
		return s.Data()
	}
	return m.Info().RAM
}

// Data returns the data of the metered memory.
func (m *Meter) Data() RAMMap { return DataOf(m.Memory) }

// Data returns the data of the guarded memory, as far as it may be read.
func (g *Guard) Data() RAMMap {
	ram := *g.ram.Load()
	data := DataOf(g.mem)
	if ram.Known() && data.Known() {
		return ram.Intersect(data)
	}
	return ram
}

// extent is a stretch of bytes of a file, or of several that follow one another.
type extent struct{ from, to uint64 }

// maxExtents bounds how many extents of one file are distinguished; the rest counts as data.
const maxExtents = 1 << 14

// extents lists where a file of a size holds data, by lseek(2). Gaps of less than a huge page are no gaps. A file that
// cannot tell has no holes.
func extents(path string, size uint64) []extent {
	const least = 2 << 20
	f, err := regular.Open(path)
	if err != nil {
		return []extent{{0, size}}
	}
	defer f.Close()
	var list []extent
	for at := uint64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), int64(at), unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing follows
		}
		to, holeErr := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil || holeErr != nil || uint64(from) >= size || len(list) == maxExtents {
			return append(list, extent{at, size})
		}
		e := extent{uint64(from), min(uint64(to), size)}
		if n := len(list); n > 0 && e.from-list[n-1].to < least {
			list[n-1].to = e.to
		} else {
			list = append(list, e)
		}
		at = uint64(to)
	}
	if list == nil {
		list = []extent{{0, min(size, PageSize)}} // nothing at all would mean that it is not known
	}
	return list
}
