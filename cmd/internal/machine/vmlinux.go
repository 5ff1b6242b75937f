package machine

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"

	"physgdb/bridge"
	"physgdb/cmd/internal/kept"
	"physgdb/cmd/internal/progress"
	"physgdb/internal/plain"
	"physgdb/internal/regular"
	"physgdb/symbols"
	"physgdb/symbols/debuginfo"
	"physgdb/symbols/elffile"
	"physgdb/symbols/linux"
)

// Where a kernel's names and types come from if the user names no file.
const (
	SymbolsAuto = "auto" // a vmlinux of its build-id in the usual places, else its own memory
	SymbolsRAM  = "ram"  // its own memory
	SymbolsNone = "none"
)

// vmlinux is the source of a kernel's names, types and unwind tables: a file that the user gave or
// that was found, or the tables in the kernel's memory.
type vmlinux struct {
	*symbols.Table
	file    *elffile.File // nil if types and unwind tables are read from memory
	path    string        // of the symbol file for debuggers, or empty
	found   bool          // by its build-id
	made    bool          // from memory
	trusted bool          // only the build-id of the file was compared with memory
	missing []error       // what could not be read from memory
	scratch string        // directory to remove in the end, or empty
	release func()        // lets the cache remove the file; nil for another file
}

// debug returns the file as the kernel uses it, or nil.
func (v *vmlinux) debug() linux.Debug {
	if v.file == nil {
		return nil
	}
	return v.file
}

// open opens the symbol file at a path.
func (v *vmlinux) open(path string) (err error) {
	if v.file, err = elffile.Open(path); err == nil {
		v.Table, v.path = v.file.Table, path
	}
	return err
}

// VmlinuxPath returns the path of the kernel's symbol file, or "" if there is none. Close may
// remove the file. A synthetic one exists only if [Options.SymbolFile] is set.
func (m *Machine) VmlinuxPath() string {
	if m.vmlinux == nil {
		return ""
	}
	return m.vmlinux.path
}

// openVmlinux opens the file that the user named; it returns nil if there is none.
func (o *Options) openVmlinux() (*vmlinux, error) {
	if o.Vmlinux == "" {
		return nil, nil
	}
	v := &vmlinux{}
	err := v.open(o.Vmlinux)
	var format *elf.FormatError
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &format):
		return nil, fmt.Errorf("--vmlinux %s: not an ELF file (a vmlinuz is not one; the kernel's debug package has the vmlinux)",
			o.Vmlinux)
	case reason(err) != err:
		return nil, fmt.Errorf("--vmlinux %s: %w", o.Vmlinux, reason(err))
	}
	return nil, fmt.Errorf("--vmlinux %w", err)
}

// explain finds out what the kernel's names and types are, where the user named no vmlinux. A
// kernel that cannot be explained is shown as addresses and bytes; the error is for a memory that
// does not answer.
func (m *Machine) explain(ctx context.Context, o *Options) error {
	if m.vmlinux != nil && !o.Synthetic || o.Symbols == SymbolsNone {
		return nil
	}
	v, err := m.findVmlinux(ctx, o)
	if err == nil {
		known, wrong := m.Kernel.With(ctx, v.Table, v.debug())
		if wrong == nil {
			given := m.vmlinux
			m.Kernel, m.Space, m.vmlinux = known, known.Space, v
			return given.close()
		}
		err = errors.Join(wrong, v.close())
	}
	m.noVmlinux = err
	m.Log.Info("the kernel's names and types are not known", "why", err)
	return ctx.Err()
}

// findVmlinux looks for a vmlinux of the kernel's build-id. If there is none, the kernel's names
// are those in its memory, and a symbol file is made for debuggers.
//
// A cached file saves the time to make it. Commands that need no file read the tables from memory.
// They use a cached file only if the user trusts build-ids, because then the tables are not read.
func (m *Machine) findVmlinux(ctx context.Context, o *Options) (*vmlinux, error) {
	var tables *linux.OwnTables
	var names *symbols.Table
	var old *vmlinux
	var err error
	if o.SymbolFile || o.TrustBuildID {
		if old, err = m.keptVmlinux(ctx, o); err != nil {
			return nil, err
		}
	}
	if old != nil {
		names = old.Table
	} else {
		shown := progress.New(o.Notes, "reading the kernel's own symbols")
		tables, err = m.Kernel.OwnTables(ctx, m.vmcoreInfo(ctx, o), shown.Show)
		shown.End()
		if err != nil {
			return m.vmlinuxWithoutNames(ctx, o, err)
		}
		names = tables.Names()
	}
	if o.Symbols != SymbolsRAM {
		if found := m.foundVmlinux(ctx, o, names.BuildID, m.releaseBy(ctx, names)); found != nil {
			return found, old.close()
		}
	}
	switch {
	case old != nil:
		return old, nil
	case o.SymbolFile:
		return m.makeVmlinux(ctx, o, tables)
	}
	return &vmlinux{Table: names, made: true, missing: tables.Damage}, nil
}

// vmcoreInfo returns the kernel's VMCOREINFO if its address is known, else nil.
func (m *Machine) vmcoreInfo(ctx context.Context, o *Options) *linux.VMCoreInfo {
	at := m.Hints.VMCoreInfo
	if m.Kernel.Note != 0 {
		at = m.Kernel.Note
	} else if given, err := bridge.ParseAddr(o.VMCoreInfo); err == nil {
		at = given
	}
	if at == 0 {
		return nil
	}
	p := make([]byte, 2*bridge.PageSize)
	n, _ := bridge.Read(ctx, m.Memory, at, p, true)
	info, err := linux.ParseVMCoreInfo(p[:n])
	if err != nil || info.PhysBase != m.Kernel.PhysBase() {
		return nil
	}
	return info
}

// vmlinuxWithoutNames looks for the vmlinux of a kernel whose own names could not be read, for the
// reason why: by the build-ids in its read-only data, else by the release in its banner. Memory has
// to have the build-id of what is found.
func (m *Machine) vmlinuxWithoutNames(ctx context.Context, o *Options, why error) (*vmlinux, error) {
	if o.Symbols == SymbolsRAM || ctx.Err() != nil {
		return nil, why
	}
	release := releaseIn(m.Kernel.Banner(ctx))
	if unnamed := (*linux.NoNamesError)(nil); errors.As(why, &unnamed) {
		for _, id := range unnamed.BuildIDs {
			if v := m.ifKernels(ctx, m.foundVmlinux(ctx, o, id, release)); v != nil {
				return v, nil
			}
		}
	}
	for _, path := range m.debugPlaces(o).OfRelease(release) {
		if v := m.ifKernels(ctx, m.openFound(path)); v != nil {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%w; and no vmlinux was found", why)
}

// ifKernels returns v, which may be nil, if it is the kernel's; else it closes v and returns nil.
func (m *Machine) ifKernels(ctx context.Context, v *vmlinux) *vmlinux {
	if v == nil {
		return nil
	}
	if len(v.BuildID) > 0 {
		if _, err := m.Kernel.With(ctx, v.Table, v.debug()); err == nil {
			return v
		}
	}
	if err := v.close(); err != nil {
		m.Log.Warn("a vmlinux was not closed", "path", v.path, "error", err)
	}
	return nil
}

// releaseBy returns the kernel's release, "" if it cannot be read, by names that are the kernel's.
func (m *Machine) releaseBy(ctx context.Context, names *symbols.Table) string {
	known, err := m.Kernel.With(ctx, names, nil)
	if err != nil {
		return ""
	}
	return releaseIn(known.Banner(ctx))
}

// debugPlaces returns where debug information may be, by the user's environment and options.
func (m *Machine) debugPlaces(o *Options) *debuginfo.Places {
	places := debuginfo.FromEnvironment(os.Getenv)
	places.Dirs = o.DebugDirs
	return places
}

// foundVmlinux looks for a vmlinux of a build-id on this machine and, if the user's environment
// names servers, by debuginfod; it returns nil if there is none.
func (m *Machine) foundVmlinux(ctx context.Context, o *Options, buildID []byte, release string) *vmlinux {
	if len(buildID) == 0 {
		return nil
	}
	places := m.debugPlaces(o)
	shown := progress.New(o.Notes, "fetching the kernel's debug information")
	defer shown.End()
	places.Progress = func(done, total int64) { shown.Show(uint64(done), uint64(max(done, total))) }
	path, err := places.Vmlinux(ctx, buildID, release)
	if err != nil {
		m.Log.Info("no vmlinux was found", "why", err)
		return nil
	}
	return m.openFound(path)
}

// openFound opens a vmlinux that the user has not named; it returns nil if it cannot be used.
func (m *Machine) openFound(path string) *vmlinux {
	v := &vmlinux{found: true}
	if err := v.open(path); err != nil {
		m.Log.Warn("the vmlinux found cannot be used", "why", err)
		return nil
	}
	return v
}

// SavedFile describes a symbol file that was written.
type SavedFile struct {
	Path    string
	Symbols int
	Size    int // bytes
}

// SaveVmlinux writes the synthetic symbol file of the kernel to path, or if that is empty to a file
// named after its release. If parts are missing, the file is still written, and the error says
// which.
func (m *Machine) SaveVmlinux(ctx context.Context, path string) (*SavedFile, error) {
	if m.vmlinux == nil || !m.vmlinux.made {
		return nil, fmt.Errorf("no symbols found in the kernel's memory: %w", m.noVmlinux)
	}
	if path == "" {
		path = m.VmlinuxName(ctx) + ".synth"
	}
	made, err := regular.ReadFile(m.vmlinux.path)
	if err != nil {
		return nil, err
	}
	if err := kept.WriteFile(path, bytes.NewReader(made)); err != nil {
		return nil, err
	}
	return &SavedFile{path, m.vmlinux.Len(), len(made)}, errors.Join(m.vmlinux.missing...)
}

// VmlinuxName returns what the kernel's vmlinux is called, by its release.
func (m *Machine) VmlinuxName(ctx context.Context) string {
	release := m.Release(ctx)
	if release == "" {
		return "vmlinux"
	}
	return "vmlinux-" + plain.Name(release)
}

// close closes the file and removes what was only for this run.
func (v *vmlinux) close() error {
	if v == nil {
		return nil
	}
	var err error
	if v.file != nil {
		err = v.file.Close()
	}
	if v.release != nil {
		v.release()
	}
	if v.scratch != "" {
		err = errors.Join(err, os.RemoveAll(v.scratch))
	}
	return err
}
