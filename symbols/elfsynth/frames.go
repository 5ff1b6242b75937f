package elfsynth

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// debugFrame makes a .debug_frame section (DWARF 5, section 6.4) of a program's ORC tables: nil if
// it has none. It also makes symbols for what is described there and has none: lldb counts from
// them. Addresses are those of the program.
//
// User space is not described, so that the call frame information of programs counts once their
// files are loaded. For gdb to end a backtrace there without guessing, the entry point of the ELF
// file must be 0 at run time: it does not go on from the function at the entry point, and takes 0
// for the function of all code that has no symbol.
func debugFrame(ctx context.Context, p *Program) (section []byte, syms []symbols.Symbol, err error) {
	if p.ORC == nil && len(p.Rules) == 0 {
		return nil, nil, nil
	}
	b := newFrameBuilder(p)
	if err := b.measure(p.Sections); err != nil {
		return nil, nil, err
	}
	if p.ORC != nil {
		b.out = slices.Grow(b.out, len(p.ORC.Entries.Data)+fdeHeader*len(b.marks))
		if err := b.orc(ctx, p.ORC); err != nil {
			return nil, nil, err
		}
	}
	for i := range p.Rules {
		b.stretch(p.Rules[i].From, p.Rules[i].To, &p.Rules[i].FrameRule)
	}
	b.finish()
	syms = slices.Concat(b.writeBorders(), b.replaced)
	return b.out, syms, nil
}

// orc describes the code that ORC tables cover.
func (b *frameBuilder) orc(ctx context.Context, o *orc.Sections) error {
	table, err := o.Table()
	if err != nil {
		return err
	}
	var from uint64
	var rule symbols.FrameRule
	for ip, next := range table.Rules() {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(b.out) > maxFrames:
			return fmt.Errorf("call frame information: more than %d MB are needed: damaged", maxFrames>>20)
		case from != 0:
			b.stretch(from, ip, &rule)
		}
		from, rule = ip, next
	}
	return nil
}

// frameBuilder writes one FDE after the other. Each begins where a symbol does: lldb counts from
// there.
type frameBuilder struct {
	cfiWriter
	marks     []mark // in the order of their addresses
	signalCIE uint32 // where it is in the section; the other one is at 0
	fde       fde    // the one that is being written, if any
	first     uint64 // the lowest address of code
	gap       gap    // the widest one
	crossings []crossing
	replaced  []symbols.Symbol // of the code before addresses that replace return addresses
}

// mark is where a symbol is, or where a section begins or ends.
type mark struct {
	addr   uint64
	code   bool // what follows can be executed
	symbol bool
	prefix bool // what follows is padding before a function, with a name of its own
	// replaced: what follows is the byte before an address that replaces return addresses.
	replaced bool
}

// fde is a frame description entry that is not complete yet.
type fde struct {
	open       bool
	at         int    // where it is in the section
	begin, end uint64 // addresses
	loc        uint64 // the address that its instructions have come to
	state      frameState
	symbol     bool // it begins with a symbol
	frames     bool // it describes a frame
	last       bool // the stack ends at what is last
}

const (
	fdeHeader  = 24       // length, CIE, address, size
	maxPadding = 64       // bytes between functions: the alignment of all that are aligned
	minGap     = 64 << 10 // bytes; no function is as long
)

func newFrameBuilder(p *Program) *frameBuilder {
	b := &frameBuilder{marks: marks(p)}
	b.cie("")
	b.signalCIE = uint32(len(b.out))
	b.cie("S")
	return b
}

// maxSpan is far more than the 1 GiB that the kernel's code model allows.
const maxSpan = 1 << 33 // bytes

// measure finds where the code is.
func (b *frameBuilder) measure(sections []Section) error {
	first, last := ^uint64(0), uint64(0)
	for _, s := range sections {
		if !s.Exec || s.Size == 0 {
			continue
		}
		first, last = min(first, s.Addr), max(last, s.Addr+s.Size-1)
		if s.Size > maxSpan || last-first >= maxSpan {
			return fmt.Errorf("call frame information: code from %#x to %#x is too far apart", first, last)
		}
	}
	b.first = first
	return nil
}

// marks returns one mark for each address.
func marks(p *Program) []mark {
	all := make([]mark, 0, len(p.Symbols)+2*len(p.Sections))
	for _, s := range p.Sections {
		all = append(all, mark{addr: s.Addr, code: s.Exec}, mark{addr: s.Addr + s.Size})
	}
	sections := len(all)
	for i := range p.Symbols {
		s := &p.Symbols[i]
		all = append(all, mark{addr: s.Addr, symbol: true, prefix: isPrefix(s.Name)})
	}
	for _, at := range p.Replaced {
		all = append(all, mark{addr: at - 1, symbol: true, replaced: true}, mark{addr: at, symbol: true})
	}
	slices.SortStableFunc(all[:sections], byAddr)
	slices.SortStableFunc(all, byAddr)
	merged := all[:0]
	code := false
	for _, m := range all {
		if !m.symbol {
			code = m.code
		}
		m.code = code
		if n := len(merged) - 1; n >= 0 && merged[n].addr == m.addr {
			m.symbol = m.symbol || merged[n].symbol
			m.prefix = m.prefix && merged[n].prefix
			m.replaced = m.replaced || merged[n].replaced
			merged[n] = m
			continue
		}
		merged = append(merged, m)
	}
	return merged
}

func byAddr(a, b mark) int { return cmp.Compare(a.addr, b.addr) }

// isPrefix: CONFIG_FUNCTION_PADDING_BYTES and kCFI give names to what is in front of functions.
func isPrefix(name string) bool {
	return strings.HasPrefix(name, "__pfx_") || strings.HasPrefix(name, "__cfi_")
}

// stretch describes code from one address up to another. Calls follow each other in the order of
// addresses.
func (b *frameBuilder) stretch(from, to uint64, rule *symbols.FrameRule) {
	for from < to {
		for len(b.marks) > 1 && b.marks[1].addr <= from {
			b.marks = b.marks[1:]
		}
		if len(b.marks) == 0 {
			return
		}
		m := &b.marks[0]
		end := to
		switch {
		case from < m.addr:
			from = min(to, m.addr)
			continue
		case len(b.marks) > 1:
			end = min(to, b.marks[1].addr)
		}
		switch {
		case !m.code, m.prefix: // compilers do not describe prefixes either
			b.finish()
		case m.replaced:
			b.replacedReturn(from, end)
		case from == m.addr:
			b.begin(from, m.symbol)
			b.rule(from, end, rule)
		case !b.fde.open:
			b.begin(from, false)
			b.rule(from, end, rule)
		case rule.Kind == symbols.NoFrame && end-from < maxPadding && len(b.marks) > 1 && end == b.marks[1].addr:
			// Nothing executes the padding between two functions.
		default:
			b.rule(from, end, rule)
		}
		from = end
	}
}

// begin begins an FDE.
func (b *frameBuilder) begin(addr uint64, symbol bool) {
	b.finish()
	b.fde = fde{open: true, at: len(b.out), begin: addr, end: addr, loc: addr, state: unwound, symbol: symbol}
	b.out = append(b.out, make([]byte, fdeHeader)...)
}

// rule says what counts within the FDE.
func (b *frameBuilder) rule(from, to uint64, rule *symbols.FrameRule) {
	f := &b.fde
	f.end = to
	f.frames = f.frames || rule.Kind != symbols.NoFrame
	// The code before may end with a call that does not return. lldb uses the rule for the return
	// address.
	ended := f.last || rule.Kind == symbols.NoFrame
	f.last = rule.Kind == symbols.LastFrame
	now := f.state.next(rule)
	if now == f.state && now.rip.how != isBorder {
		return
	}
	if ended && from > f.begin {
		from++
	}
	b.advance(from - f.loc)
	b.change(&f.state, &now)
	if now.rip.how == isBorder {
		b.cross(int(now.rip.offset), from, to)
	}
	f.loc, f.state = from, now
}

// finish completes the FDE that is being written, or drops one without rules.
func (b *frameBuilder) finish() {
	f := b.fde
	b.fde = fde{}
	switch {
	case !f.open:
		return
	case !f.frames && (!f.symbol || f.end-f.begin >= minGap):
		b.out = b.out[:f.at]
		if f.end-f.begin > b.gap.end-b.gap.begin {
			b.gap = gap{f.begin, f.end}
		}
		return
	}
	b.header(f.at, 0, f.begin, f.end)
}

// header completes the FDE that starts at a place in the section and is the last one.
func (b *frameBuilder) header(at int, cie uint32, begin, end uint64) {
	b.pad(at)
	header := b.out[at:]
	binary.LittleEndian.PutUint32(header, uint32(len(header)-4))
	binary.LittleEndian.PutUint32(header[4:], cie)
	binary.LittleEndian.PutUint64(header[8:], begin)
	binary.LittleEndian.PutUint64(header[16:], end-begin)
}

// cie writes a common information entry, version 3, for amd64. Its rules are those of a function
// that was just called.
func (b *frameBuilder) cie(augmentation string) {
	b.commonEntry(augmentation, unknownOthers, func() {
		b.bytes(frame.DW_CFA_def_cfa, byte(unwound.cfa.base), byte(unwound.cfa.offset))
		b.place(symbols.RIP, unwound.rip)
		b.place(symbols.RBP, unwound.rbp)
	})
}

// commonEntry writes a common information entry with the rules that are written by a function, and
// says which registers are unknown.
func (b *frameBuilder) commonEntry(augmentation string, unknowns []symbols.Reg, rules func()) {
	at := len(b.out)
	b.bytes(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3)
	b.out = append(append(b.out, augmentation...), 0)
	b.uleb(1)
	b.sleb(dataAlignment)
	b.bytes(byte(symbols.RIP))
	rules()
	for _, reg := range unknowns {
		b.place(reg, place{how: unknown})
	}
	b.pad(at)
	binary.LittleEndian.PutUint32(b.out[at:], uint32(len(b.out)-at-4))
}

// pad fills an entry up to a multiple of 8 bytes, with no operations.
func (b *frameBuilder) pad(at int) {
	for (len(b.out)-at)%8 != 0 {
		b.out = append(b.out, 0)
	}
}
