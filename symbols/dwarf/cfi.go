package dwarf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
)

// CFI is the call frame information of an ELF file (DWARF 5, section 6.4), for kernels without ORC.
// It covers what compilers made; in a vmlinux no assembly. It is immutable and safe for concurrent
// use.
type CFI struct {
	fdes frame.FrameDescriptionEntries
}

// ReadCFI reads .debug_frame or, in files without it, .eh_frame: link addresses. It reads nothing
// else of the file.
func ReadCFI(f *elf.File) (*CFI, error) {
	for _, name := range []string{".debug_frame", ".eh_frame"} {
		s := f.Section(name)
		if s == nil || s.Type == elf.SHT_NOBITS || s.Size == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", name, err)
		}
		cfi, err := NewCFI(data, s.Addr)
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", name, err)
		}
		return cfi, nil
	}
	return nil, errors.New("has no call frame information")
}

// NewCFI takes the bytes of a .eh_frame section and its address, or those of a .debug_frame section
// and 0. It keeps and changes them.
func NewCFI(data []byte, ehFrameAddr uint64) (cfi *CFI, err error) {
	defer recoverTo(&err, "call frame information")
	if ehFrameAddr == 0 {
		rewriteVersion4(data)
	}
	fdes, err := frame.Parse(data, binary.LittleEndian, 0, 8, ehFrameAddr)
	if err != nil {
		return nil, fmt.Errorf("call frame information: %w", err)
	}
	if len(fdes) == 0 {
		return nil, errors.New("call frame information: empty")
	}
	return &CFI{frame.FrameDescriptionEntries(nil).Append(fdes)}, nil // in the order of addresses
}

// rewriteVersion4 turns each CIE of version 4 in a .debug_frame section (DWARF 4 and 5, section
// 6.4.1) into one of version 3, which the parser understands: compilers of Rust write them.
func rewriteVersion4(section []byte) {
	for len(section) >= 4 {
		size := binary.LittleEndian.Uint32(section)
		section = section[4:]
		if uint64(size) > uint64(len(section)) {
			return // damaged, or the 64-bit format
		}
		rewriteEntry(section[:size])
		section = section[size:]
	}
}

// rewriteEntry removes the sizes of addresses and segments, by which version 4 differs, and fills
// the end with DW_CFA_nop.
func rewriteEntry(entry []byte) {
	const (
		id, version, augmentation = 0, 4, 5 // offsets
		isCIE                     = 1<<32 - 1
		addressSize, segmentSize  = 8, 0
	)
	if len(entry) < augmentation || binary.LittleEndian.Uint32(entry[id:]) != isCIE || entry[version] != 4 {
		return
	}
	sizes := augmentation + bytes.IndexByte(entry[augmentation:], 0) + 1
	rest := sizes + 2
	if sizes == augmentation || rest > len(entry) || entry[sizes] != addressSize || entry[sizes+1] != segmentSize {
		return
	}
	entry[version] = 3
	end := sizes + copy(entry[sizes:], entry[rest:])
	clear(entry[end:]) // DW_CFA_nop is 0
}

// At implements Unwinder.
func (c *CFI) At(pc uint64) (symbols.FrameRule, bool) {
	fde, err := c.fdes.FDEForPC(pc)
	if err != nil {
		return symbols.FrameRule{}, false
	}
	row, err := runCFI(fde, pc)
	if err != nil {
		return symbols.FrameRule{}, false
	}
	return ruleOfCFI(row, strings.Contains(fde.CIE.Augmentation, "S"))
}

// maxCFIWork bounds what one program may copy. Each DW_CFA_remember_state copies the rules of all
// registers, so that a damaged program could fill the memory; a kernel's longest programs stay
// three orders below.
const maxCFIWork = 1 << 20

// runCFI executes the program of one function up to pc. The parser panics at what it does not
// expect.
func runCFI(fde *frame.FrameDescriptionEntry, pc uint64) (row *frame.FrameContext, err error) {
	defer recoverTo(&err, "call frame information")
	rules := len(fde.CIE.InitialInstructions) + len(fde.Instructions)
	if copies := bytes.Count(fde.Instructions, []byte{frame.DW_CFA_remember_state}); copies*rules > maxCFIWork {
		return nil, errors.New("call frame information: program too long")
	}
	return fde.EstablishFrame(pc)
}

// ruleOfCFI says the same as a row of the CFI table, or false if the form of FrameRule does not
// suffice.
func ruleOfCFI(row *frame.FrameContext, signal bool) (symbols.FrameRule, bool) {
	r := symbols.FrameRule{Kind: symbols.CallFrame, Signal: signal, CalleeSaved: true}
	switch ra, ok := row.Regs[uint64(symbols.RIP)]; {
	case !ok:
		return symbols.FrameRule{}, false
	case ra.Rule == frame.RuleUndefined: // the mark of an outermost frame
		return symbols.FrameRule{Kind: symbols.LastFrame}, true
	case ra.Rule != frame.RuleOffset || ra.Offset != -8:
		return symbols.FrameRule{}, false
	}
	if !setCFA(&r, &row.CFA) {
		return symbols.FrameRule{}, false
	}
	for reg := symbols.RAX; reg <= symbols.R15; reg++ {
		if rule, ok := row.Regs[uint64(reg)]; ok && !save(&r, reg, &rule) {
			return symbols.FrameRule{}, false
		}
	}
	return r, true
}

func setCFA(r *symbols.FrameRule, rule *frame.DWRule) (ok bool) {
	switch rule.Rule {
	case frame.RuleCFA:
		r.Base, r.Offset = symbols.Reg(rule.Reg), rule.Offset
		return rule.Reg <= uint64(symbols.R15)
	case frame.RuleExpression:
		r.Base, r.Offset, r.Deref, ok = cfiExpression(rule.Expression)
		return ok
	}
	return false
}

func save(r *symbols.FrameRule, reg symbols.Reg, rule *frame.DWRule) bool {
	s := symbols.SavedReg{Reg: reg, Base: symbols.CFA}
	offset := rule.Offset
	switch rule.Rule {
	case frame.RuleSameVal, frame.RuleUndefined:
		// The parser answers "undefined" for DW_CFA_restore too, which restores the old value of a
		// register.
		return true
	case frame.RuleOffset:
	case frame.RuleExpression:
		var deref symbols.Deref
		var ok bool
		if s.Base, offset, deref, ok = cfiExpression(rule.Expression); !ok || deref != symbols.DerefNone {
			return false
		}
	default:
		return false
	}
	if offset < math.MinInt32 || offset > math.MaxInt32 {
		return false
	}
	s.Offset = int32(offset)
	return r.Save(s)
}

// DWARF operations that compilers use in call frame information: DWARF 5, section 7.7.1.
const (
	opDeref      = 0x06
	opPlusUconst = 0x23
	opBreg0      = 0x70
	opBreg15     = 0x7f
)

// cfiExpression understands a register plus a number, optionally dereferenced, optionally plus a
// number: what compilers write for functions that realign their stack.
func cfiExpression(expr []byte) (base symbols.Reg, offset int64, deref symbols.Deref, ok bool) {
	if len(expr) < 2 || expr[0] < opBreg0 || expr[0] > opBreg15 {
		return 0, 0, 0, false
	}
	base = symbols.Reg(expr[0] - opBreg0)
	offset, n := sleb128(expr[1:])
	if n == 0 {
		return 0, 0, 0, false
	}
	rest := expr[1+n:]
	if len(rest) == 0 {
		return base, offset, symbols.DerefNone, true
	}
	if rest[0] != opDeref {
		return 0, 0, 0, false
	}
	if rest = rest[1:]; len(rest) == 0 {
		return base, offset, symbols.DerefAfterOffset, true
	}
	if rest[0] != opPlusUconst || offset != 0 {
		return 0, 0, 0, false
	}
	plus, n := binary.Uvarint(rest[1:]) // a ULEB128
	if n <= 0 || 1+n != len(rest) || plus > math.MaxInt32 {
		return 0, 0, 0, false
	}
	return base, int64(plus), symbols.DerefBeforeOffset, true
}

// sleb128 decodes a signed LEB128 number and returns its size in bytes: 0 if they are cut off or
// too many.
func sleb128(b []byte) (v int64, n int) {
	for n < len(b) && n < 9 {
		c := b[n]
		v |= int64(c&0x7f) << (7 * n)
		n++
		if c < 0x80 {
			shift := 64 - 7*n
			return v << shift >> shift, n
		}
	}
	return 0, 0
}
