package dump

import (
	"errors"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
	"physgdb/internal/regular"
)

// extent is a stretch of bytes of a file, or of several that follow one another.
type extent struct{ from, to uint64 }

// maxExtents bounds how many extents of one file are distinguished; the rest counts as data.
const maxExtents = 1 << 14

// extents lists where a file of a size holds data, by lseek(2). Gaps smaller than a huge page are
// ignored. A file whose extents cannot be read counts as a file without holes.
func extents(path string, size uint64) []extent {
	const minGap = 2 << 20
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
		if n := len(list); n > 0 && e.from-list[n-1].to < minGap {
			list[n-1].to = e.to
		} else {
			list = append(list, e)
		}
		at = uint64(to)
	}
	if list == nil {
		list = []extent{{0, min(size, bridge.PageSize)}} // nothing at all would mean that it is not known
	}
	return list
}
