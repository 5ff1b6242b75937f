package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"physgdb/cmd/internal/kept"
	"physgdb/cmd/internal/progress"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/synth"
)

// keptName is the name of a file that was made of a kernel's memory.
const keptName = "vmlinux"

// mostKept bounds how many kept files are compared with a kernel's notes: the last used, at one
// small read each. mostSame bounds those of one build-id whose sources are compared, each at some
// 12 MiB of memory. Their sources differ: all but one at the most were made of memory that was
// changed.
const mostKept, mostSame = 64, 2

// keptVmlinux returns the file that was made of this kernel before, or nil. Memory has to hold all
// that the file was made of, unless the user trusts build-ids.
func (m *Machine) keptVmlinux(ctx context.Context, o *Options) (*vmlinux, error) {
	store, err := kept.Open(o.CacheLimit)
	if err != nil {
		return nil, nil // no cache, nothing kept
	}
	entries := store.Entries(kept.Kernels)
	entries = entries[:min(len(entries), mostKept)]
	sources := make([]synth.Sources, len(entries))
	notes := make([]linux.Notes, len(entries))
	for i, e := range entries {
		_ = json.Unmarshal(e.About, &sources[i]) // what cannot be read has no notes, and is no kernel's
		notes[i] = sources[i].Notes
	}
	if len(notes) == 0 {
		return nil, nil
	}
	same, err := m.Kernel.HasNotes(ctx, notes)
	if err != nil {
		return nil, err
	}
	for _, i := range same[:min(len(same), mostSame)] {
		v, err := m.openKept(ctx, o, &entries[i], &sources[i])
		if v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}

// openKept opens a kept file if memory holds its sources; else it returns nil. The error is ctx's.
func (m *Machine) openKept(ctx context.Context, o *Options, e *kept.Entry, sources *synth.Sources) (*vmlinux, error) {
	release, err := e.Use()
	if err != nil {
		m.Log.Warn("a cached file cannot be used; making it again", "why", err)
		return nil, nil
	}
	v := &vmlinux{made: true, release: release}
	if err := v.open(e.Path); err != nil {
		m.Log.Warn("a cached file cannot be used; making it again", "why", err)
		return nil, v.close()
	}
	if o.TrustBuildID {
		v.trusted = true
		return v, nil
	}
	shown := progress.New(o.Notes, "comparing the kernel's own symbols with the cached ones")
	defer shown.End()
	same, err := sources.Hold(ctx, m.Kernel, v.Table, shown.Show)
	if same || err != nil {
		return v, err
	}
	m.Log.Warn("a cached file of this build-id was made from other memory; ignoring it", "file", e.Path)
	return nil, v.close()
}

// makeVmlinux makes a file of the kernel's own tables, and keeps it unless something is missing, or
// it cannot be kept.
func (m *Machine) makeVmlinux(ctx context.Context, o *Options, tables *linux.OwnTables) (*vmlinux, error) {
	known, err := m.Kernel.With(ctx, tables.Names(), nil)
	if err != nil {
		return nil, err
	}
	program, sources, missing, err := synth.Kernel(ctx, known, tables.Kallsyms())
	if err != nil {
		return nil, err
	}
	content, left, err := elfsynth.Build(ctx, program)
	if err != nil {
		return nil, err
	}
	v := &vmlinux{Table: tables.Names(), made: true, missing: slices.Concat(tables.Damage, missing, left)}
	for _, why := range v.missing {
		m.Log.Warn("debug information in memory is incomplete", "missing", why)
	}
	if len(v.missing) == 0 && len(tables.BuildID) > 0 && sources != nil {
		if err := v.keep(o, content, tables.BuildID, sources); err != nil {
			m.Log.Info("files made from the kernel's memory are not cached", "why", err)
		}
	}
	if v.path == "" {
		if v.scratch, err = os.MkdirTemp("", "physgdb-"); err != nil {
			return nil, err
		}
		v.path = filepath.Join(v.scratch, keptName)
		if err := os.WriteFile(v.path, content, 0o600); err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	return v, nil
}

// keep stores the content where keptVmlinux looks for it. The name of its directory has the
// build-id, for people, and the digest of the sources: files of other memory have other names.
func (v *vmlinux) keep(o *Options, content, buildID []byte, sources *synth.Sources) error {
	const idSize, digestSize = 20, 8 // bytes: a SHA-1, and enough to differ
	store, err := kept.Open(o.CacheLimit)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%x-%x", buildID[:min(len(buildID), idSize)], sources.Digest[:digestSize])
	e, err := store.Put(kept.Kernels, key, keptName, bytes.NewReader(content), sources)
	if err != nil {
		return err
	}
	if v.release, err = e.Use(); err != nil {
		return err
	}
	v.path = e.Path
	return nil
}
