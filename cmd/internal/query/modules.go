package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"physgdb/internal/plain"
	"physgdb/symbols/linux"
)

func modulesCommand() Command {
	return Command{
		Name: "modules", Aliases: []string{"lx-lsmod"}, Args: "[NAME]...",
		Help: "list the modules that the kernel had loaded",
		About: `TAINT has the letters by which the kernel marks a module that is not quite its own: O out of tree, E unsigned,
P proprietary… BASE is where its code begins. gdb loads the symbols of those whose files lie in the usual places or below
--modules DIR; of the others it is shown what memory tells: names and types, no source lines. --files says which files those
are, or why there is none, and the command by which gdb loads one from elsewhere. Where objdump -h shows the sections of
such a file at other addresses than 0, gdb would show wrong values: first objcopy --change-section-vma '*=0' NAME.ko

Examples:
  physgdb modules file:/tmp/ram
  physgdb modules file:/tmp/ram --files virtio_net`,
		Options: []Option{
			{Name: "files", Usage: "the file of each, or why there is none and gdb's command to load it"},
			jsonOption("name, size, state, taint, refs, used_by, base, build_id, module, file, regions, sections"),
		},
		prepare: func(r *request) (Answer, error) {
			return func(ctx context.Context, m *Machine, w io.Writer) error {
				return m.writeModules(ctx, w, r.args, r.on("files"), r.on("json"))
			}, nil
		},
	}
}

// moduleLine is a module as JSON shows it.
type moduleLine struct {
	Name     string           `json:"name"`
	Size     uint64           `json:"size"` // bytes
	State    string           `json:"state"`
	Taint    string           `json:"taint,omitempty"`
	Refs     int              `json:"refs"`
	UsedBy   []string         `json:"used_by"`
	Base     address          `json:"base"`
	BuildID  string           `json:"build_id,omitempty"`
	Module   address          `json:"module"`         // of its struct module
	File     string           `json:"file,omitempty"` // that gdb loads
	Regions  []moduleRegion   `json:"regions"`
	Sections []sectionAddress `json:"sections,omitempty"`
}

type moduleRegion struct {
	Name string  `json:"name"`
	Base address `json:"base"`
	Size uint64  `json:"size"` // bytes
}

type sectionAddress struct {
	Name string  `json:"name"`
	Addr address `json:"addr"`
}

func newModuleLine(md *linux.Module) *moduleLine {
	l := &moduleLine{
		Name: md.Name, Size: md.Size(), State: md.State.String(), Refs: md.Refs, UsedBy: append([]string{}, md.UsedBy...),
		Base: address(md.Base()), Module: address(md.Addr), Regions: []moduleRegion{},
	}
	if md.Taint != 0 {
		l.Taint = md.Taint.String()
	}
	for _, r := range md.Regions {
		l.Regions = append(l.Regions, moduleRegion{r.Name, address(r.Base), r.Size})
	}
	return l
}

// addDetails adds what JSON shows besides, and takes more reads. What cannot be read is left out, and the error says why.
func (l *moduleLine) addDetails(ctx context.Context, md *linux.Module) error {
	id, idErr := md.BuildID(ctx)
	l.BuildID = fmt.Sprintf("%x", id)
	sections, err := md.Sections(ctx)
	for _, s := range sections {
		l.Sections = append(l.Sections, sectionAddress{s.Name, address(s.Addr)})
	}
	return cmp.Or(err, idErr)
}

func (m *Machine) writeModules(ctx context.Context, w io.Writer, names []string, files, asJSON bool) error {
	if err := m.needSymbols("modules"); err != nil {
		return err
	}
	list, err := m.Kernel.Modules(ctx)
	if err != nil {
		return fmt.Errorf("modules: %w", err)
	}
	modules, missing := pickModules(list, names)
	out := bufio.NewWriter(w)
	if !asJSON && len(modules) > 0 {
		fmt.Fprintf(out, "%-24s %9s  %-9s %-5s %-18s  %s\n", "NAME", "SIZE", "STATE", "TAINT", "BASE", "USED BY")
	}
	damage := slices.Clone(list.Damage)
	fileless := 0
	for _, md := range modules {
		line := newModuleLine(md)
		gdbs, noFile := m.library(ctx, md)
		if noFile != nil {
			fileless++
		}
		line.File = gdbs.Name
		if asJSON {
			if err := line.addDetails(ctx, md); err != nil {
				damage = append(damage, err)
			}
			err = plain.WriteJSON(out, line)
		} else {
			err = line.write(out)
		}
		if err == nil && files && !asJSON {
			err = writeModuleFile(ctx, out, md, line.File, noFile)
		}
		if err != nil {
			return err
		}
	}
	if fileless > 0 && !files && !asJSON {
		writeFileless(out, fileless)
	}
	return cmp.Or(out.Flush(), notFound(missing, listDamage("modules", damage)))
}

// writeFileless says what gdb is shown of modules whose files were not found.
func writeFileless(w io.Writer, count int) {
	fmt.Fprintf(w, "\nFiles of %d were not found (why: modules --files). Of these gdb is shown what memory tells: names and types, no\n"+
		"source lines. --modules DIR tells physgdb where files are.\n", count)
}

// addSymbolFile is gdb's command to load a module's symbols from a file of the user's, or why there is none.
func addSymbolFile(ctx context.Context, md *linux.Module) string {
	command, err := md.AddSymbolFile(ctx)
	if err != nil {
		return plain.Line(err.Error())
	}
	return command
}

// writeModuleFile tells which file gdb loads a module's symbols from, or why from none and what the user can do.
func writeModuleFile(ctx context.Context, w io.Writer, md *linux.Module, path string, noFile error) error {
	if noFile == nil {
		_, err := fmt.Fprintf(w, "  %s\n", path)
		return err
	}
	fmt.Fprintf(w, "  %s\n", plain.Line(noFile.Error()))
	_, err := fmt.Fprintf(w, "  %s\n", addSymbolFile(ctx, md))
	return err
}

// pickModules finds modules by their names; without names it is all.
func pickModules(list *linux.Modules, names []string) ([]*linux.Module, error) {
	if len(names) == 0 {
		return list.All, nil
	}
	var picked []*linux.Module
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
	return picked, fmt.Errorf("modules: no module %s was loaded", strings.Join(missing, ", "))
}

func (l *moduleLine) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%-24s %9d  %-9s %-5s %v  %s\n", plain.Line(l.Name), l.Size, l.State, l.Taint, l.Base, l.users())
	return err
}

// users says who holds a module, as lsmod does.
func (l *moduleLine) users() string {
	if l.Refs < 0 {
		return "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", l.Refs, plain.Line(strings.Join(l.UsedBy, ","))))
}
