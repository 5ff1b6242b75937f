package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols/elffile"
	"physgdb/symbols/kallsyms"
	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
	"physgdb/symbols"
)

// OwnTables are what a kernel keeps in its memory about itself: the names, types and stack frames of its code and data. No
// file is needed for them. Addresses are link addresses, as in a vmlinux; where _text was linked is not known, and taken
// to be where nearly all kernels have it.
type OwnTables struct {
	// BuildID is that of the kernel; empty if it could not be found.
	BuildID []byte
	// Damage tells why names are missing.
	Damage []error

	k       *Kernel // by these names
	image   *image
	symbols []symbols.Symbol
	place   *KallsymsTable
}

// KallsymsTable is a kernel's table of names as it lies in memory.
type KallsymsTable struct {
	symbols.Blob // its address is the link address
	// BaseAt is the link address of the word in it that KASLR changes (kallsyms_relative_base), 8 bytes; 0 if there is none.
	BaseAt uint64
}

// NoNamesError is returned for a kernel whose memory holds no table of names that can be read.
type NoNamesError struct {
	Err error
	// BuildIDs are those of the notes in the kernel's read-only data: its own and those of its vDSOs, in any order.
	BuildIDs [][]byte
}

func (e *NoNamesError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *NoNamesError) Unwrap() error { return e.Err }

// OwnTables reads the names, from the place that VMCOREINFO tells or, if that is nil or leads nowhere, out of all the kernel's
// read-only data. The error is a [*NoNamesError] if there are none. progress, if not nil, hears how many of how many bytes have been read.
func (k *Kernel) OwnTables(
	ctx context.Context, info *VMCoreInfo, progress func(done, total uint64),
) (*OwnTables, error) {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	if info != nil {
		if r, err := k.kallsymsRange(ctx, &info.Kallsyms); err == nil {
			if t, err := k.tablesIn(ctx, r, info, progress); err == nil || ctx.Err() != nil {
				return t, err
			}
		}
	}
	r, err := k.readOnlyData(ctx)
	if err != nil {
		return nil, fmt.Errorf("the kernel's read-only data: %w", err)
	}
	return k.tablesIn(ctx, r, info, progress)
}

// kallsymsRange returns where the kernel's table of names is, by what VMCOREINFO tells of its parts.
func (k *Kernel) kallsymsRange(ctx context.Context, p *KallsymsPlace) (mmu.Range, error) {
	if p.Count == 0 {
		return mmu.Range{}, errors.New("VMCOREINFO does not tell where kallsyms is")
	}
	count, err := kmem.ReadUint(ctx, k.Space, p.Count, 4)
	if err != nil {
		return mmu.Range{}, err
	}
	const least, longest = 1024, 8 // bytes: the index of the tokens; an address
	last := p.Last + max(least, longest*count)
	if last-p.First > mostReadOnlyData {
		return mmu.Range{}, fmt.Errorf("kallsyms of %d symbols from %#x on: damaged", count, p.First)
	}
	return mmu.Range{First: p.First &^ (mmu.PageSize - 1), Last: last}, nil
}

// tablesIn reads the names out of a part of the image. info is the kernel's VMCOREINFO, or nil.
func (k *Kernel) tablesIn(
	ctx context.Context, r mmu.Range, info *VMCoreInfo, progress func(done, total uint64),
) (*OwnTables, error) {
	img, err := k.readImage(ctx, r, progress)
	if err != nil {
		return nil, fmt.Errorf("the kernel's read-only data at %#x: %w", r.First, err)
	}
	found, err := kallsyms.Find(img.base, img.Data, k.Text)
	if err != nil {
		if len(img.Holes) > 0 {
			err = fmt.Errorf("%w (of the kernel's read-only data, %d pieces are missing: %w)", err, len(img.Holes), img.Holes[0].Err)
		}
		return nil, &NoNamesError{err, elffile.ScanBuildIDs(img.Data)}
	}
	t := &OwnTables{image: img, symbols: found.All(), place: k.kallsymsTable(img, found)}
	if found.Lost > 0 {
		t.Damage = append(t.Damage, fmt.Errorf("kallsyms: %d of %d symbols are lost: memory is damaged", found.Lost,
			found.Lost+len(found.Symbols)))
	}
	if !slices.ContainsFunc(found.Symbols, func(s symbols.Symbol) bool { return s.Name == "init_top_pgt" }) {
		if err := t.addData(ctx, k, info, progress); err != nil {
			return nil, err
		}
	}
	for i := range t.symbols {
		if s := &t.symbols[i]; s.Addr >= ImageBase {
			s.Addr -= k.Slide
		}
	}
	names := symbols.NewTable(t.symbols, nil)
	if t.k, err = k.derive(k.m, k.Root, names, nil); err != nil {
		return nil, err
	}
	t.BuildID = elffile.BuildID(t.k.ReadNotes(ctx).Data)
	names.BuildID = t.BuildID
	return t, nil
}

// addData adds the names of data that the kernel k exports to modules, where kallsyms has names of functions only
// (no CONFIG_KALLSYMS_ALL), that of the log, which VMCOREINFO has, and that of the banner. Addresses are those of the running
// kernel.
func (t *OwnTables) addData(ctx context.Context, k *Kernel, info *VMCoreInfo, progress func(done, total uint64)) error {
	const mostPerCPU = 16 << 20 // bytes of per-CPU data, whose symbols were offsets until 6.14
	t.place = nil
	var err error
	if t.image, err = k.wholeReadOnlyData(ctx, t.image, progress); err != nil {
		return err
	}
	exports := kallsyms.FindExports(t.image.base, t.image.Data, t.symbols, func(addr uint64) bool {
		return addr >= ImageBase && addr < ImageBase+imageSpan || addr < mostPerCPU
	})
	for i := range exports { // the next name may be far away
		exports[i].Size = unknownSize
	}
	t.symbols = append(t.symbols, exports...)
	if at, size := bannerIn(t.image.Data); at >= 0 {
		t.symbols = append(t.symbols, symbols.Symbol{Name: "linux_banner", Addr: t.image.base + uint64(at), Size: uint64(size)})
	}
	if btf, ok := findBTF(t.image); ok {
		t.symbols = append(t.symbols, symbols.Symbol{Name: startBTF, Addr: btf.Addr, Size: unknownSize},
			symbols.Symbol{Name: stopBTF, Addr: btf.Addr + uint64(len(btf.Data)), Size: unknownSize})
	}
	if info != nil && info.Log != 0 {
		t.symbols = append(t.symbols, symbols.Symbol{Name: "prb", Addr: info.Log, Size: unknownSize})
	}
	return nil
}

// bannerIn returns where in data the kernel's banner begins, and its size; -1 if it is not there.
func bannerIn(data []byte) (at, size int) {
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte(BannerStart))
		if i < 0 {
			return -1, 0
		}
		at = from + i
		line, _, _ := bytes.Cut(data[at:min(len(data), at+mostBanner)], []byte{'\n'})
		if isBanner(string(line)) {
			return at, len(line)
		}
		from = at + len(BannerStart)
	}
}

// mostBanner bounds the kernel's banner, in bytes.
const mostBanner = 512

// wholeReadOnlyData returns all of the kernel's read-only data, of which img may be a part.
func (k *Kernel) wholeReadOnlyData(ctx context.Context, img *image, progress func(done, total uint64)) (*image, error) {
	r, err := k.readOnlyData(ctx)
	if err != nil {
		return nil, fmt.Errorf("the kernel's read-only data: %w", err)
	}
	if r.First == img.base && r.Last-r.First+1 == uint64(len(img.Data)) {
		return img, nil
	}
	return k.readImage(ctx, r, progress)
}

// Names returns the kernel's symbols.
func (t *OwnTables) Names() *symbols.Table { return t.k.Symbols }

// Kallsyms returns the table that all the names were read from. It is nil if some were found by a search through all of the
// kernel's data: the search can have another result on another machine.
func (t *OwnTables) Kallsyms() *KallsymsTable { return t.place }

func (k *Kernel) kallsymsTable(img *image, found *kallsyms.Table) *KallsymsTable {
	t := &KallsymsTable{Blob: symbols.Blob{
		Addr: found.First - k.Slide, Data: img.Data[found.First-img.base : found.End-img.base],
	}}
	if found.BaseAt != 0 {
		t.BaseAt = found.BaseAt - k.Slide
	}
	return t
}

// image is a stretch of the kernel's image, with zeros for what could not be read.
type image struct {
	*kmem.Sparse
	base uint64 // virtual address at run time
}

// mostReadOnlyData bounds the kernel's read-only data, in bytes; kernels have 8 to 16 MB.
const mostReadOnlyData = 128 << 20

// readOnlyData finds the kernel's read-only data: the longest run of pages behind its text that can neither be executed nor
// written. Others are shorter: some kernels have a single such page between text and data. Kernels that protect nothing
// (rodata=off) can write it: then it is all that follows.
func (k *Kernel) readOnlyData(ctx context.Context) (mmu.Range, error) {
	var run, longest, all mmu.Range
	image := mmu.Range{First: k.Text, Last: min(k.Text+mostReadOnlyData, ImageBase+imageSpan) - 1}
	for mp, err := range k.Space.Mappings(ctx, image) {
		if ctx.Err() != nil {
			return mmu.Range{}, ctx.Err()
		}
		if err != nil || mp.Flags&mmu.Executable != 0 {
			continue
		}
		last := mp.VA + mp.Size - 1
		if all.First == 0 {
			all.First = mp.VA
		}
		all.Last = last
		if mp.Flags&mmu.Writable != 0 {
			continue
		}
		if run.First == 0 || mp.VA != run.Last+1 {
			run.First = mp.VA
		}
		run.Last = last
		if run.Last-run.First > longest.Last-longest.First {
			longest = run
		}
	}
	const least = 1 << 20 // bytes; a stray page that is read-only is not it
	switch {
	case longest.Last-longest.First >= least:
		return longest, nil
	case all.First != 0:
		return all, nil
	}
	return mmu.Range{}, errors.New("nothing is mapped behind the kernel's text")
}

// readImage reads a stretch of the image piece by piece.
func (k *Kernel) readImage(ctx context.Context, r mmu.Range, progress func(done, total uint64)) (*image, error) {
	const piece = 1 << 20 // bytes
	img := &image{base: r.First, Sparse: &kmem.Sparse{Data: make([]byte, r.Last-r.First+1)}}
	for at := 0; at < len(img.Data); at += piece {
		size := min(piece, len(img.Data)-at)
		p, err := kmem.ReadSparse(ctx, k.Space, kmem.Span{Addr: r.First + uint64(at), Size: size})
		if err != nil {
			return nil, err
		}
		copy(img.Data[at:], p.Data)
		for _, h := range p.Holes {
			img.Holes = append(img.Holes, kmem.Hole{From: at + h.From, To: at + h.To, Err: h.Err})
		}
		progress(uint64(at+size), uint64(len(img.Data)))
	}
	if nothing, err := img.Empty(); nothing {
		return nil, err
	}
	return img, nil
}
