package memimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
)

// buildIDNote is the ELF note that holds a build-id (NT_GNU_BUILD_ID, elf.h).
func buildIDNote(id string) string {
	note := binary.LittleEndian.AppendUint32(nil, 4) // length of the name
	note = binary.LittleEndian.AppendUint32(note, uint32(len(id)))
	note = binary.LittleEndian.AppendUint32(note, 3)
	return string(note) + "GNU\x00" + id
}

// WriteVmlinux writes an ELF file with the kernel's symbols and the build-id given:
// [Kernel.BuildID] for the right one.
func (k *Kernel) WriteVmlinux(path, buildID string) error {
	return WriteELF(path, k.Symbols(), buildID)
}

// WriteTypedVmlinux writes an ELF file with the kernel's symbols, its build-id, and the type of
// what [Kernel.AddResources] makes.
func (k *Kernel) WriteTypedVmlinux(path string) error {
	types, err := resourceBTF()
	if err != nil {
		return err
	}
	return writeELF(path, k.Symbols(), k.BuildID, types)
}

// WriteELF writes a minimal ELF file with a symbol table and, unless it is empty, a build-id.
func WriteELF(path string, symbols []Symbol, buildID string) error {
	return writeELF(path, symbols, buildID, nil)
}

func writeELF(path string, symbols []Symbol, buildID string, types []byte) error {
	w := &elfWriter{names: "\x00"}
	w.body.Write(make([]byte, binary.Size(elf.Header64{})))
	w.section(elf.Section64{}, nil)
	w.section(elf.Section64{Name: w.name(".text"), Type: uint32(elf.SHT_NOBITS)}, nil)
	if buildID != "" {
		w.section(elf.Section64{Name: w.name(".notes"), Type: uint32(elf.SHT_NOTE)}, []byte(buildIDNote(buildID)))
	}
	if types != nil {
		w.section(elf.Section64{Name: w.name(".BTF"), Type: uint32(elf.SHT_PROGBITS)}, types)
	}
	table := []elf.Sym64{{}}
	for _, s := range symbols {
		kind := elf.STT_NOTYPE
		if s.Func {
			kind = elf.STT_FUNC
		}
		table = append(table, elf.Sym64{
			Name: w.name(s.Name), Info: elf.ST_INFO(elf.STB_GLOBAL, kind), Shndx: 1, Value: s.Link, Size: s.Size,
		})
	}
	// Writing types of fixed size cannot fail, here and in finish.
	content, _ := binary.Append(nil, binary.LittleEndian, table)
	strtab := uint32(len(w.sections) + 1)
	w.section(elf.Section64{
		Name: w.name(".symtab"), Type: uint32(elf.SHT_SYMTAB), Link: strtab, Entsize: elf.Sym64Size,
	}, content)
	w.section(elf.Section64{Name: w.name(".strtab"), Type: uint32(elf.SHT_STRTAB)}, []byte(w.names))
	return os.WriteFile(path, w.finish(strtab), 0o644)
}

// elfWriter gathers sections; one table of strings serves the names of sections and symbols.
type elfWriter struct {
	body     bytes.Buffer // header and contents
	sections []elf.Section64
	names    string
}

func (w *elfWriter) name(s string) uint32 {
	at := len(w.names)
	w.names += s + "\x00"
	return uint32(at)
}

func (w *elfWriter) section(s elf.Section64, content []byte) {
	s.Off, s.Size = uint64(w.body.Len()), uint64(len(content))
	w.body.Write(content)
	w.sections = append(w.sections, s)
}

// finish adds the section table and fills the header in.
func (w *elfWriter) finish(names uint32) []byte {
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(w.body.Len()), Ehsize: uint16(binary.Size(elf.Header64{})),
		Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: uint16(len(w.sections)), Shstrndx: uint16(names),
	}
	file, _ := binary.Append(w.body.Bytes(), binary.LittleEndian, w.sections)
	_, _ = binary.Encode(file, binary.LittleEndian, h)
	return file
}
