package module

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"physgdb/symbols/linux"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/elffile"
)

// Section is a section of a module's file that was loaded.
type Section struct {
	Name string
	Addr uint64
}

// Limits for damaged memory.
const (
	maxSections    = 1 << 13 // those of modules that are built with a section for each function are some hundreds
	maxSectionName = 256     // bytes
)

// Sections returns the sections that were loaded, in the order of the module's file and without
// empty ones (as in /sys/module/NAME/sections). It includes sections whose memory was freed after
// initialization (.init…). It is empty for a kernel without CONFIG_KALLSYMS, or without types for
// this information.
func (m *Module) Sections(ctx context.Context) ([]Section, error) {
	return m.sections.Get(ctx, func(ctx context.Context) ([]Section, error) {
		s, err := m.readSections(ctx)
		if err != nil {
			return nil, fmt.Errorf("sections of module %s: %w", m.Name, err)
		}
		if len(s) == 0 {
			return nil, nil
		}
		const each = 64 // bytes: a Section with its name
		if err := m.owner.tables.take(each * len(s)); err != nil {
			return nil, fmt.Errorf("sections of module %s: %w", m.Name, err)
		}
		return s, nil
	})
}

// sectionAttr is a section in the kernel (kernel/module/sysfs.c): a file in sysfs and an address.
type sectionAttr struct {
	Name    uint64 `c:"battr.attr.name|attr.name"`
	Address uint64 `c:"address|private"`
}

// sectionAttr looks up the layout of a section: a struct module_sect_attr with a struct
// bin_attribute at the returned offset, or since 6.14 a struct bin_attribute alone.
func (m *Module) sectionAttr(ctx context.Context) (*kmem.Struct[sectionAttr], uint64, error) {
	types, err := m.owner.k.Types(ctx)
	if err != nil {
		return nil, 0, err
	}
	file, err := types.Field("module_sect_attr", "battr")
	if errors.Is(err, symbols.ErrNoType) {
		layout, err := kmem.NewStruct[sectionAttr](types, "bin_attribute")
		return layout, 0, err
	}
	if err != nil {
		return nil, 0, err
	}
	layout, err := kmem.NewStruct[sectionAttr](types, "module_sect_attr")
	return layout, file.Offset, err
}

// readSections reads the array of sysfs files for sections, the files, and their names, with one
// batch for each.
func (m *Module) readSections(ctx context.Context) ([]Section, error) {
	if m.attrs == 0 {
		return nil, nil
	}
	files, err := m.sectionFiles(ctx)
	if errors.Is(err, symbols.ErrNoType) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	layout, fileAt, err := m.sectionAttr(ctx)
	if err != nil {
		return nil, err
	}
	for i := range files {
		files[i] -= fileAt
	}
	attrs, errs, err := layout.Read(ctx, m.owner.k.Space, files)
	if err != nil {
		return nil, err
	}
	sections := make([]Section, len(attrs))
	names := make([]mmu.Op, len(attrs))
	for i, a := range attrs {
		if errs[i] != nil {
			return nil, errs[i]
		}
		sections[i].Addr = a.Address
		names[i] = mmu.Op{VA: a.Name, Buf: make([]byte, maxSectionName)}
	}
	if err := m.owner.k.Space.ReadAll(ctx, names); err != nil {
		return nil, err
	}
	for i := range sections {
		text, _, ended := strings.Cut(string(names[i].Buf[:names[i].N]), "\x00")
		if !ended || text == "" || !symbols.Printable([]byte(text)) {
			return nil, fmt.Errorf("the name of number %d is damaged (%q at %#x)", i, text, names[i].VA)
		}
		sections[i].Name = text
	}
	return sections, nil
}

// sectionAttrs is struct module_sect_attrs (kernel/module/sysfs.c).
type sectionAttrs struct {
	Files uint64 `c:"grp.bin_attrs|grp.bin_attrs_new"`
}

// sectionFiles reads the pointers to the struct bin_attribute of each section, up to the
// terminating NULL.
func (m *Module) sectionFiles(ctx context.Context) ([]uint64, error) {
	layout, err := linux.StructOf[sectionAttrs](ctx, m.owner.k, "module_sect_attrs")
	if err != nil {
		return nil, err
	}
	attrs, err := layout.ReadOne(ctx, m.owner.k.Space, m.attrs)
	if err != nil {
		return nil, err
	}
	var files []uint64
	for at := attrs.Files; len(files) < maxSections; {
		chunk := make([]byte, 64*8) // most modules have fewer
		n, err := m.owner.k.Space.ReadMemory(ctx, at, chunk)
		for i := 0; i+8 <= n; i += 8 {
			file := binary.LittleEndian.Uint64(chunk[i:])
			if file == 0 {
				return files, nil
			}
			files = append(files, file)
		}
		if err != nil {
			return nil, err
		}
		at += uint64(n)
	}
	return nil, fmt.Errorf("their list has no end")
}

// BuildID returns the build-id of the module's file, or nil if it has none or if the kernel does
// not have its address.
func (m *Module) BuildID(ctx context.Context) ([]byte, error) {
	if len(m.buildID) > 0 {
		return m.buildID, nil
	}
	return m.noteID.Get(ctx, m.readBuildID)
}

// readBuildID searches the sections with notes.
func (m *Module) readBuildID(ctx context.Context) ([]byte, error) {
	sections, err := m.Sections(ctx)
	if err != nil {
		return nil, err
	}
	var notes []mmu.Op
	for _, s := range sections {
		if strings.HasPrefix(s.Name, ".note") {
			notes = append(notes, mmu.Op{VA: s.Addr, Buf: make([]byte, 128)}) // a build-id has 36, and others may follow
		}
	}
	if len(notes) == 0 {
		return nil, nil
	}
	if err := m.owner.k.Space.ReadAll(ctx, notes); err != nil {
		return nil, fmt.Errorf("build-id of module %s: %w", m.Name, err)
	}
	for _, n := range notes {
		if id := elffile.BuildID(n.Buf[:n.N]); id != nil {
			return id, nil
		}
	}
	return nil, nil
}
