package elfsynth

import (
	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
)

// noCodeName is what debuggers show for a place that is no code.
const noCodeName = "[no-code]"

// BuildNoCode makes an ELF file that covers one address, where there is no code but which was
// called. Debuggers find the caller by it: its return address is at the top of the stack, and all
// registers are those of the caller. Without it gdb takes code without a symbol for user space,
// where a stack ends. At address 0 gdb ends every stack (noEntry) unless the frame is that of a
// signal handler.
func BuildNoCode(pc uint64) []byte {
	const size = 1
	p := &Program{
		Sections: []Section{{Name: ".no-code", Addr: pc, Size: size, Exec: true}},
		Symbols:  []symbols.Symbol{{Name: noCodeName, Addr: pc, Size: size, Func: true}},
	}
	f := newFile()
	numbers := f.addMemory(p)
	b := &frameBuilder{}
	augmentation := ""
	if pc == noEntry {
		augmentation = "S"
	}
	b.commonEntry(augmentation, nil, func() {
		b.bytes(frame.DW_CFA_def_cfa, byte(unwound.cfa.base), byte(unwound.cfa.offset))
		b.place(symbols.RIP, unwound.rip)
		for reg := range symbols.RIP {
			if reg != symbols.RSP {
				b.place(reg, place{how: unchanged})
			}
		}
	})
	at := len(b.out)
	b.out = append(b.out, make([]byte, fdeHeader)...)
	b.header(at, 0, pc, pc+size)
	f.addData(".debug_frame", 0, b.out)
	f.addSymtab(newNames(p.Symbols, p.Sections), numbers)
	return f.bytes(pc)
}
