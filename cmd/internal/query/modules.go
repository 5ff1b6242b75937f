package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"physgdb/symbols/linux/module"

	"physgdb/cmd/internal/machine"
)

// Module is a module that the kernel had loaded.
type Module struct {
	Name     string         `json:"name"`
	Size     uint64         `json:"size"` // bytes
	State    string         `json:"state"`
	Taint    string         `json:"taint,omitempty"` // letters, as in /proc/modules
	Refs     int            `json:"refs"`            // -1 if they are not counted
	UsedBy   []string       `json:"used_by"`
	Base     Address        `json:"base"` // of its code
	BuildID  string         `json:"build_id,omitempty"`
	Module   Address        `json:"module"`         // of its struct module
	File     string         `json:"file,omitempty"` // the file on this computer from which gdb loads its symbols
	Regions  []ModuleRegion `json:"regions"`
	Sections []Section      `json:"sections,omitempty"`

	NoFile        error  `json:"-"` // why there is no File
	AddSymbolFile string `json:"-"` // gdb's command to load the symbols from a file of the user, or why there is none
}

// ModuleRegion is a range of virtual addresses of a module.
type ModuleRegion struct {
	Name string  `json:"name"`
	Base Address `json:"base"`
	Size uint64  `json:"size"` // bytes
}

// Section is a section of a module's file, and where it was loaded.
type Section struct {
	Name string  `json:"name"`
	Addr Address `json:"addr"`
}

// ModuleDetails select what takes more time.
type ModuleDetails struct {
	Files    bool // Module.File, or why there is none
	Sections bool // and build-ids
	Commands bool // Module.AddSymbolFile
}

// Modules returns the modules of the given names, or all.
func Modules(ctx context.Context, m *machine.Machine, names []string, details ModuleDetails) ([]Module, error) {
	list, err := module.Read(ctx, m.Kernel)
	if err != nil {
		return nil, err
	}
	picked, missing := pickModules(list, names)
	places := slices.Clone(list.Damage)
	modules := make([]Module, len(picked))
	for i, md := range picked {
		modules[i] = newModule(md)
		if details.Files {
			file, err := m.ModuleFile(ctx, md)
			if err == nil {
				modules[i].File = file.Name
			}
			modules[i].NoFile = err
		}
		if details.Sections {
			if err := modules[i].addSections(ctx, md); err != nil {
				places = append(places, err)
			}
		}
		if details.Commands && modules[i].NoFile != nil {
			modules[i].AddSymbolFile = addSymbolFile(ctx, md)
		}
	}
	return modules, notFound(missing, damage(places))
}

func newModule(md *module.Module) Module {
	l := Module{
		Name: md.Name, Size: md.Size(), State: md.State.String(), Refs: md.Refs, UsedBy: append([]string{}, md.UsedBy...),
		Base: Address(md.Base()), Module: Address(md.Addr), Regions: []ModuleRegion{},
	}
	if md.Taint != 0 {
		l.Taint = md.Taint.String()
	}
	for _, r := range md.Regions {
		l.Regions = append(l.Regions, ModuleRegion{r.Name, Address(r.Base), r.Size})
	}
	return l
}

// addSections adds the build-id and the sections. What cannot be read is left out, and the error
// says why.
func (l *Module) addSections(ctx context.Context, md *module.Module) error {
	id, idErr := md.BuildID(ctx)
	l.BuildID = fmt.Sprintf("%x", id)
	sections, err := md.Sections(ctx)
	for _, s := range sections {
		l.Sections = append(l.Sections, Section{s.Name, Address(s.Addr)})
	}
	return cmp.Or(err, idErr)
}

// addSymbolFile returns gdb's command to load a module's symbols from a file of the user, or why
// there is none.
func addSymbolFile(ctx context.Context, md *module.Module) string {
	command, err := md.AddSymbolFile(ctx)
	if err != nil {
		return err.Error()
	}
	return command
}

// pickModules returns the modules of the given names, or all.
func pickModules(list *module.List, names []string) ([]*module.Module, error) {
	if len(names) == 0 {
		return list.All, nil
	}
	var picked []*module.Module
	var missing []string
	for _, name := range names {
		if md := list.Named(name); md != nil {
			picked = append(picked, md)
		} else {
			missing = append(missing, strconv.Quote(name))
		}
	}
	if len(missing) == 0 {
		return picked, nil
	}
	return picked, fmt.Errorf("no module %s was loaded", strings.Join(missing, ", "))
}
