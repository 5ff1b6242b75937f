// Package synth describes a kernel, its modules and its generated code by what the kernel's memory
// holds about them, for elfsynth to make symbol files from.
package synth

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"physgdb/mmu"
	"physgdb/symbols/btf"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/unwind"
	"physgdb/symbols/orc"
)

// Kernel reads what the kernel k keeps about itself. names are its symbols, by which k is read too,
// and place is the table that they were read from, or nil.
//
// missing says what could not be read. sources is what all of it was read from; it is nil if place
// is, or if something is missing. The error is ctx's.
func Kernel(ctx context.Context, k *linux.Kernel, place *linux.KallsymsTable) (
	p *elfsynth.Program, sources *Sources, missing []error, err error) {
	p = &elfsynth.Program{
		Name: "vmlinux", LoadOffset: linux.ImageBase, Symbols: slices.Collect(k.Symbols.All()), Sections: kernelSections(k.Symbols),
		Notes: k.ReadNotes(ctx), Globals: elfsynth.KernelGlobals(), Replaced: unwind.ReplacedReturns(k.Symbols),
	}
	var d *digester
	if place != nil {
		d = newDigester(k.Slide, place.BaseAt)
		d.add(place.Blob)
	}
	if p.BTF, err = k.ReadBTF(ctx); err != nil {
		missing = append(missing, noTypes(err))
	}
	d.add(p.Notes, p.BTF)
	if p.FramePointers, err = k.FramePointers(ctx); err == nil && !p.FramePointers {
		p.ORC, err = kernelORC(ctx, k, d)
	}
	if err != nil {
		missing = append(missing, noUnwindTables(err))
	}
	if d != nil && len(missing) == 0 {
		sources = d.finish()
		sources.Notes, sources.FramePointers = linux.Notes(p.Notes), p.FramePointers
	}
	return p, sources, missing, ctx.Err()
}

// Missing returns what could not be read of a kernel's types and unwind tables.
func Missing(ctx context.Context, k *linux.Kernel) (missing []error) {
	types, err := k.ReadBTF(ctx)
	if err == nil {
		var read *btf.Types
		if read, err = btf.New(types.Data); err == nil {
			err = read.Damage()
		}
	}
	if err != nil {
		missing = append(missing, noTypes(err))
	}
	framePointers, err := k.FramePointers(ctx)
	if err == nil && !framePointers {
		_, err = kernelORC(ctx, k, nil)
	}
	if err != nil {
		missing = append(missing, noUnwindTables(err))
	}
	return missing
}

func noTypes(err error) error        { return fmt.Errorf("no types: %w", err) }
func noUnwindTables(err error) error { return fmt.Errorf("unwind tables: %w", err) }

// kernelORC returns the kernel's unwind tables and adds them to the digest. Tables of which a part
// is gone come with an error.
func kernelORC(ctx context.Context, k *linux.Kernel, d *digester) (*orc.Sections, error) {
	s, err := k.ReadORC(ctx)
	if err != nil {
		return nil, err
	}
	d.add(s.IPs, s.Entries, s.Header)
	if table, err := s.Table(); err == nil {
		table.FollowStackCalls(k.Symbols) // in place
	}
	return s, zeroPages(s.Entries.Data)
}

// zeroPages complains of whole pages of zeros, which no table has: dumps hold them in place of what
// was not kept.
func zeroPages(table []byte) error {
	var zeros [mmu.PageSize]byte
	n := 0
	for p := table; len(p) >= len(zeros); p = p[len(zeros):] {
		if bytes.Equal(p[:len(zeros)], zeros[:]) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d KiB are zeros: memory is damaged", n*len(zeros)>>10, len(table)>>10)
}
