package elfsynth

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/btf"
	"physgdb/symbols/orc"
)

// Build makes the ELF file of a program: an x86-64 executable whose memory has no content, with
// symbols, and with debug information in DWARF. The first segment starts where the first section
// does, and segments lie as far apart as in memory; per-CPU sections are in no segment, so that
// debuggers that move the program leave them where they are.
//
// missing says what could not go in, each in a sentence. What is left still works. The file has at
// most some 128 MB: what damaged tables would make larger is left out. err is ctx's, which is the
// only thing that ends it early.
func Build(ctx context.Context, p *Program) (elf []byte, missing []error, err error) {
	f := newFile()
	p = withBorderSection(p)
	numbers := f.addMemory(p)
	f.addORC(p.ORC)
	if len(p.Symbols) == 0 {
		missing = append(missing, errors.New("no symbols: no address has a name"))
	}
	frames, borders, err := frameInfo(ctx, p)
	if err != nil {
		missing = append(missing, err)
	}
	outside := func(s symbols.Symbol) bool { return sectionOf(p.Sections, s.Addr) == none }
	names := newNames(slices.Concat(p.Symbols, slices.DeleteFunc(borders, outside)), p.Sections)
	if err := f.addDebugInfo(ctx, p, names); err != nil {
		missing = append(missing, err)
	}
	f.addData(".debug_frame", 0, frames)
	if err := f.addSymtab(names, numbers); err != nil {
		missing = append(missing, err)
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return f.bytes(noEntry), missing, nil
}

// Bounds of what is made of a program's tables, in bytes: ten times what a kernel has. Those of
// memory that is damaged, or was made to be read, would take gigabytes.
const (
	maxDebugInfo  = 48 << 20 // of .debug_info and .debug_str together
	maxIndexNames = 24 << 20 // of .gdb_index
	maxFrames     = 32 << 20 // of .debug_frame
	maxStrtab     = 32 << 20
)

// frameInfo has the unwind information, with its symbols.
func frameInfo(ctx context.Context, p *Program) (section []byte, borders []symbols.Symbol, err error) {
	switch {
	case p.ORC != nil || len(p.Rules) > 0:
		return debugFrame(ctx, p)
	case p.FramePointers:
		return framePointers(p)
	}
	return nil, nil, errors.New("no ORC: stacks can be unwound only by guessing")
}

// noEntry is where the program is said to start: at a place that is no code. For gdb the function
// of the entry point ends every stack, and code of which nothing is known, as in user space, has a
// function at 0. So a stack ends with the registers that user space had. Else gdb would go on by
// guess. It moves the entry point with the section that holds it.
const noEntry = 0

// addMemory adds the program's sections, and a segment for each, and returns their numbers. Of all
// that is in memory the file has the notes alone, which say what program this is. What it does not
// have is said to be writable, whatever the segment says: of what is not, lldb 19 reads strings in
// the file, where it finds zeros.
func (f *file) addMemory(p *Program) (numbers []int) {
	for _, s := range p.Sections {
		flags, rights := elf.SHF_ALLOC, elf.PF_R
		if s.Write {
			rights |= elf.PF_W
		}
		if s.Exec {
			flags, rights = flags|elf.SHF_EXECINSTR, rights|elf.PF_X
		}
		head := elf.Section64{Type: uint32(elf.SHT_NOBITS), Flags: uint64(flags | elf.SHF_WRITE), Addr: s.Addr, Size: s.Size}
		isNotes := s.Addr == p.Notes.Addr && s.Size == uint64(len(p.Notes.Data))
		var data []byte
		if isNotes {
			head.Type, head.Flags, head.Addralign, data = uint32(elf.SHT_NOTE), uint64(flags), 4, p.Notes.Data
		}
		number := f.add(s.Name, section{head, data})
		numbers = append(numbers, number)
		if s.PerCPU {
			continue
		}
		f.addSegment(elf.PT_LOAD, rights, number, p.LoadOffset)
		if isNotes {
			f.addSegment(elf.PT_NOTE, rights, number, p.LoadOffset)
		}
	}
	return numbers
}

// addORC adds the tables as a vmlinux has them.
func (f *file) addORC(o *orc.Sections) {
	if o == nil {
		return
	}
	f.addData(".orc_header", o.Header.Addr, o.Header.Data)
	f.addData(".orc_unwind_ip", o.IPs.Addr, o.IPs.Data)
	f.addData(".orc_unwind", o.Entries.Addr, o.Entries.Data)
}

// addDebugInfo adds the types as they are, and as DWARF.
func (f *file) addDebugInfo(ctx context.Context, p *Program, n *names) error {
	if p.BTF.Data == nil {
		return errors.New("no BTF: neither types nor prototypes are known")
	}
	f.addData(".BTF", p.BTF.Addr, p.BTF.Data)
	t, err := readTypes(p.BaseBTF, p.BTF.Data)
	if err != nil {
		return fmt.Errorf("no types: %w", err)
	}
	u := newDebugInfo(ctx, p.Name, t)
	low, high := extent(p.Sections)
	u.beginTypes(low, high)
	u.addTypes(wanted(t))
	u.addFuncs(n, p.Sections)
	u.addVars(n)
	u.addGlobals(p.Globals, n)
	if u.full() {
		return cmp.Or(ctx.Err(), fmt.Errorf("types: more than %d MB are needed: damaged", maxDebugInfo>>20))
	}
	u.endTypes()
	u.writeVars()
	f.addData(".debug_abbrev", 0, abbrevTable())
	f.addData(".debug_info", 0, u.info)
	f.add(".debug_str", section{elf.Section64{
		Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_MERGE | elf.SHF_STRINGS), Entsize: 1,
	}, u.strs.data})
	f.addData(".gdb_index", 0, gdbIndex(u.info, u.strs.data, low, high))
	return t.Damage()
}

// readTypes reads the types of a kernel or, if base is not nil, of a module.
func readTypes(base, raw []byte) (*btf.Types, error) {
	if base == nil {
		return btf.New(raw)
	}
	return btf.NewSplit(base, raw)
}
