package module

import (
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols"
)

// memType is a kind of memory of modules from 6.4 on (enum mod_mem_type).
type memType struct {
	constant string
	Region
	at         uint64 // of its struct module_memory in the array mem, bytes
	base, size symbols.Field
}

// maxMem is the largest size of module.mem in bytes, as in moduleStruct.
const maxMem = 2048

// memTypes looks up the kinds of memory in the kernel's types. A kernel may lack some.
func (f *finder) memTypes() error {
	if !f.layout.Has("Mem") {
		return nil
	}
	base, err := f.memory.Field("module_memory", "base")
	if err != nil {
		return fmt.Errorf("this kernel's types: %w", err)
	}
	size, err := f.memory.Field("module_memory", "size")
	if err != nil {
		return fmt.Errorf("this kernel's types: %w", err)
	}
	mem := f.layout.Member("Mem")
	mem.Size = min(mem.Size, maxMem)
	if elem := mem.Elem; base.Offset+8 > elem || size.Offset+4 > elem {
		return errors.New("this kernel's types: struct module_memory is damaged")
	}
	for _, t := range []memType{
		{constant: "MOD_TEXT", Region: Region{Name: "text", Text: true}},
		{constant: "MOD_DATA", Region: Region{Name: "data"}},
		{constant: "MOD_RODATA", Region: Region{Name: "rodata"}},
		{constant: "MOD_RO_AFTER_INIT", Region: Region{Name: "ro_after_init"}},
		{constant: "MOD_INIT_TEXT", Region: Region{Name: "init_text", Text: true, Init: true}},
		{constant: "MOD_INIT_DATA", Region: Region{Name: "init_data", Init: true}},
		{constant: "MOD_INIT_RODATA", Region: Region{Name: "init_rodata", Init: true}},
	} {
		index, err := f.memory.Enum("mod_mem_type", t.constant)
		if errors.Is(err, symbols.ErrNoMember) || err == nil && uint64(index) >= mem.Count() {
			continue
		}
		if err != nil {
			return fmt.Errorf("this kernel's types: %w", err)
		}
		t.at, t.base, t.size = uint64(index)*mem.Elem, base, size
		f.mem = append(f.mem, t)
	}
	return nil
}

// regions sets the regions of a module.
func (f *finder) regions(m *Module, s *moduleStruct) {
	for _, t := range f.mem {
		region := t.Region
		region.Base = binary.LittleEndian.Uint64(s.Mem[t.at+t.base.Offset:])
		region.Size = uint64(binary.LittleEndian.Uint32(s.Mem[t.at+t.size.Offset:]))
		f.addRegion(m, region)
	}
	if len(f.mem) == 0 {
		f.addLayout(m, "", false, s.CoreBase, s.CoreSize, s.CoreText)
		f.addLayout(m, "init_", true, s.InitBase, s.InitSize, s.InitText)
	}
}

// addLayout adds regions before 6.4: text and all other memory in one range.
func (f *finder) addLayout(m *Module, prefix string, init bool, base, size, text uint64) {
	if text > size {
		f.damage.Add("module %s: %d bytes of text in %d bytes of memory: damaged", m.Name, text, size)
		text = size
	}
	f.addRegion(m, Region{Name: prefix + "text", Base: base, Size: text, Text: true, Init: init})
	f.addRegion(m, Region{Name: prefix + "data", Base: base + text, Size: size - text, Init: init})
}

func (f *finder) addRegion(m *Module, r Region) {
	if r.Size == 0 {
		return
	}
	if r.Size > maxRegion || !f.k.Space.Root().Canonical(r.Base) || int64(r.Base) >= 0 || r.Base+r.Size < r.Base {
		f.damage.Add("module %s: %d bytes of %s at %#x: damaged", m.Name, r.Size, r.Name, r.Base)
		return
	}
	m.Regions = append(m.Regions, r)
}
