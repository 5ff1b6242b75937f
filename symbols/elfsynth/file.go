package elfsynth

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// file is an ELF file in the making: sections in the order in which they were added, after the null
// section.
type file struct {
	sections []section
	segments []segment
	names    []byte // .shstrtab
}

type section struct {
	elf.Section64
	data []byte
}

// segment is a segment that is one section.
type segment struct {
	elf.Prog64
	section int // its number
}

func newFile() *file {
	return &file{sections: make([]section, 1), names: []byte{0}}
}

// add adds a section and returns its number.
func (f *file) add(name string, s section) int {
	s.Name = uint32(len(f.names))
	f.names = append(append(f.names, name...), 0)
	if s.data != nil {
		s.Size = uint64(len(s.data))
	}
	if s.Addralign == 0 {
		s.Addralign = 1
	}
	f.sections = append(f.sections, s)
	return len(f.sections) - 1
}

// addSegment adds a segment that is one section.
func (f *file) addSegment(kind elf.ProgType, rights elf.ProgFlag, number int, loadOffset uint64) {
	s := &f.sections[number]
	f.segments = append(f.segments, segment{elf.Prog64{
		Type: uint32(kind), Flags: uint32(rights), Vaddr: s.Addr, Paddr: s.Addr - loadOffset, Filesz: uint64(len(s.data)), Memsz: s.Size,
		Align: s.Addralign,
	}, number})
}

// addData adds a section for debuggers that is not in memory, or need not be read from there.
func (f *file) addData(name string, addr uint64, data []byte) {
	if data == nil {
		return
	}
	f.add(name, section{elf.Section64{Type: uint32(elf.SHT_PROGBITS), Addr: addr}, data})
}

// bytes lays the file out: its header, segments, sections, and the table of these.
func (f *file) bytes(entry uint64) []byte {
	f.names = append(f.names, ".shstrtab\x00"...)
	f.sections = append(f.sections, section{elf.Section64{
		Name: uint32(len(f.names) - len(".shstrtab\x00")), Type: uint32(elf.SHT_STRTAB), Addralign: 1, Size: uint64(len(f.names)),
	}, f.names})

	const headerSize, segmentSize, sectionSize = 64, 56, 64
	at := uint64(headerSize + segmentSize*len(f.segments))
	for i := range f.sections[1:] {
		s := &f.sections[i+1]
		at = alignUp(at, s.Addralign)
		s.Off = at
		at += uint64(len(s.data))
	}
	at = alignUp(at, 8)

	out := bytes.NewBuffer(make([]byte, 0, at+sectionSize*uint64(len(f.sections))))
	put := func(v any) { _ = binary.Write(out, binary.LittleEndian, v) } // a Buffer takes everything
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: entry,
		Phoff: headerSize, Shoff: at, Ehsize: headerSize, Phentsize: segmentSize, Phnum: uint16(len(f.segments)),
		Shentsize: sectionSize, Shnum: uint16(len(f.sections)), Shstrndx: uint16(len(f.sections) - 1),
	})
	for _, p := range f.segments {
		p.Off = f.sections[p.section].Off
		put(p.Prog64)
	}
	for _, s := range f.sections {
		out.Write(make([]byte, s.Off-min(s.Off, uint64(out.Len()))))
		out.Write(s.data)
	}
	out.Write(make([]byte, at-uint64(out.Len())))
	for _, s := range f.sections {
		put(s.Section64)
	}
	return out.Bytes()
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
