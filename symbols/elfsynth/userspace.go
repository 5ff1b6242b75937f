package elfsynth

import (
	"debug/elf"
	"encoding/binary"

	"physgdb/symbols"
)

// userSpaceEnd is above every address that user space can have, with five levels of paging.
const userSpaceEnd = 1 << 56

// UserSpace makes an ELF file that says of all user space that nothing is known of who called what there, so that the stack
// of a task ends with its user registers: gdb else goes on by guess, and shows frames that never were. Its addresses must not
// be moved; in the file of a kernel they would be. The one segment is at address 0.
func UserSpace() []byte {
	var w cfiWriter
	w.bytes(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0) // a CIE of version 3 without augmentation
	w.uleb(1)
	w.sleb(dataAlignment)
	w.bytes(byte(symbols.RIP), cfaDefCFA, byte(symbols.RSP), 0, cfaUndefined, byte(symbols.RIP))
	binary.LittleEndian.PutUint32(w.out, uint32(len(w.out)-4))
	w.bytes(fdeHeader-4, 0, 0, 0, 0, 0, 0, 0) // an FDE of that CIE, without instructions
	w.out = binary.LittleEndian.AppendUint64(w.out, 0)
	w.out = binary.LittleEndian.AppendUint64(w.out, userSpaceEnd)

	// A section that holds all these addresses would hide those of programs that are loaded later.
	p := &Program{Sections: []Section{{Name: ".text", Size: 1, Exec: true}}}
	f := newFile()
	f.addMemory(p)
	f.add(".debug_frame", section{Section64: elf.Section64{Type: uint32(elf.SHT_PROGBITS)}, data: w.out})
	return f.bytes(0)
}
