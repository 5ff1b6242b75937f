package elffile

import (
	"bytes"
	"encoding/binary"
)

// noteBuildID is the type of the note that holds a build-id (NT_GNU_BUILD_ID, elf.h), under the
// name "GNU".
const noteBuildID = 3

// Build-ids of other lengths are damaged. A kernel has 20 bytes; debuginfod accepts 64.
const minBuildID, maxBuildID = 2, 64

// ValidBuildID reports whether a build-id has a length that is in use: 2 to 64 bytes.
func ValidBuildID(id []byte) bool { return len(id) >= minBuildID && len(id) <= maxBuildID }

// BuildID finds the GNU build-id among ELF notes, or returns nil: one of fewer than 2 bytes or more
// than 64 is none. notes may be damaged or end anywhere.
func BuildID(notes []byte) []byte {
	const header = 12 // namesz, descsz, type: 32 bits each
	for len(notes) >= header {
		nameLen := uint64(binary.LittleEndian.Uint32(notes))
		descLen := uint64(binary.LittleEndian.Uint32(notes[4:]))
		kind := binary.LittleEndian.Uint32(notes[8:])
		desc := header + align4(nameLen)
		next := desc + align4(descLen)
		if desc+descLen > uint64(len(notes)) {
			return nil
		}
		usable := descLen >= minBuildID && descLen <= maxBuildID
		if kind == noteBuildID && usable && bytes.Equal(notes[header:header+nameLen], []byte("GNU\x00")) {
			return bytes.Clone(notes[desc : desc+descLen])
		}
		notes = notes[min(next, uint64(len(notes))):]
	}
	return nil
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }

// maxBuildIDs bounds how many build-ids [ScanBuildIDs] returns; a kernel's image has its own and
// those of its vDSOs.
const maxBuildIDs = 16

// ScanBuildIDs returns the GNU build-ids of all notes that lie in a stretch of memory, wherever
// they are, at most maxBuildIDs.
func ScanBuildIDs(image []byte) (ids [][]byte) {
	const header = 12
	rest := []byte("\x03\x00\x00\x00GNU\x00") // type and name; before them are the lengths of name and description
	for from := 0; len(ids) < maxBuildIDs; {
		i := bytes.Index(image[from:], rest)
		if i < 0 {
			break
		}
		at := from + i - 8
		from += i + len(rest)
		if at < 0 || at%4 != 0 {
			continue
		}
		size := uint64(binary.LittleEndian.Uint32(image[at+4:]))
		if size < minBuildID || size > maxBuildID {
			continue
		}
		if id := BuildID(image[at:min(uint64(len(image)), uint64(at)+header+4+align4(size))]); id != nil {
			ids = append(ids, id)
		}
	}
	return ids
}
