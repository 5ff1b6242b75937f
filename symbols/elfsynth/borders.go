package elfsynth

import (
	"github.com/go-delve/delve/pkg/dwarf/frame"
	"github.com/go-delve/delve/pkg/dwarf/op"

	"physgdb/symbols"
)

// border is an address at which there is no code. Debuggers see a frame of it where a stack goes on
// that nothing called from: between the code that saved the registers of what was interrupted and
// what was interrupted, and between two stacks. Its FDE is that of a signal frame, for three
// reasons. What was interrupted is looked up by its own address rather than by the one before, as
// those are of calls. gdb shows it ("<signal handler called>") without giving up the name of the
// code that saved the registers. And gdb takes a stack that goes on at a lower address for corrupt,
// except next to a signal frame: where stacks lie is chance, and user space is always lower.
//
// RSP at a border points to what is described there, which has a size. The CFA is where that ends:
// borders have no function, so that two of them in a row must not have the same CFA to be different
// frames.
type border struct {
	name  string
	size  int64 // bytes
	saved []savedAt
}

const (
	ptRegsBorder = iota
	partialRegsBorder
	stackBorder // the return address is below
)

var borders = [...]border{
	ptRegsBorder:      {"[saved-registers]", 168, ptRegs},
	partialRegsBorder: {"[exception-frame]", 40, partialRegs},
	stackBorder:       {"[stack-switch]", 0, []savedAt{{symbols.RIP, -8}}},
}

// gap is a stretch of executable memory without code.
type gap struct{ begin, end uint64 }

// crossing is code whose caller is a border: its RIP minus a number, which is the same wherever the
// program was loaded, and is written when it is known where the borders are.
type crossing struct {
	border   int
	from, to uint64 // the code
	at       int    // where the number is in the section
}

// cross makes a border the caller of a stretch of code.
func (b *frameBuilder) cross(border int, from, to uint64) {
	b.bytes(frame.DW_CFA_val_expression, byte(symbols.RIP), 1+wideSLEB, byte(op.DW_OP_breg0+op.Opcode(symbols.RIP)))
	b.crossings = append(b.crossings, crossing{border, from, to, len(b.out)})
	b.out = append(b.out, make([]byte, wideSLEB)...)
}

// writeBorders puts the borders into the widest gap, because lldb unwinds only in executable memory
// of the program; or, if there is no room, before the program. Each is as long as the longest
// stretch of code that it is the caller of, and a byte at either end: a return address may be after
// that stretch, and debuggers look up the byte before.
func (b *frameBuilder) writeBorders() (syms []symbols.Symbol) {
	var sizes [len(borders)]uint64
	for _, c := range b.crossings {
		sizes[c.border] = max(sizes[c.border], c.to-c.from+2)
	}
	var total uint64
	for _, size := range sizes {
		total += size
	}
	begin := b.first - total
	if b.gap.end-b.gap.begin >= total {
		begin = b.gap.end - total
	}
	var begins [len(borders)]uint64
	for i, size := range sizes {
		begins[i] = begin
		if size > 0 {
			b.border(i, begin, begin+size)
			syms = append(syms, symbols.Symbol{Name: borders[i].name, Addr: begin, Size: size, Func: true, Local: true})
		}
		begin += size
	}
	for _, c := range b.crossings {
		putSLEB(b.out[c.at:], int64(begins[c.border]+1-c.from))
	}
	return syms
}

// border writes the FDE of a border.
func (b *frameBuilder) border(n int, begin, end uint64) {
	at := len(b.out)
	b.out = append(b.out, make([]byte, fdeHeader)...)
	b.defWholeCFA(cfa{base: symbols.RSP, offset: borders[n].size})
	for _, s := range borders[n].saved {
		b.offset(s.reg, s.offset-borders[n].size)
	}
	if n != stackBorder {
		b.place(gsBase, place{how: unknown}) // that of the kernel, unless it is the user's
	}
	b.header(at, b.signalCIE, begin, end)
}
