package symbols

import (
	"bytes"
	"encoding/binary"
)

// noteBuildID is the type of the note that holds a build-id (NT_GNU_BUILD_ID, elf.h), under the name "GNU".
const noteBuildID = 3

// BuildID finds the GNU build-id among ELF notes, or returns nil. notes may be damaged or end anywhere.
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
		if kind == noteBuildID && bytes.Equal(notes[header:header+nameLen], []byte("GNU\x00")) {
			return bytes.Clone(notes[desc : desc+descLen])
		}
		notes = notes[min(next, uint64(len(notes))):]
	}
	return nil
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }
