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

// OwnTables are the symbols in the memory of a kernel. Addresses are link addresses, as in a
// vmlinux; the link address of _text is not in memory, and the default is assumed.
type OwnTables struct {
	// BuildID is the build-id of the kernel; empty if it is not known.
	BuildID []byte
	// Damage says why symbols are missing.
	Damage []error

	k       *Kernel // with these symbols
	image   *image
	symbols []symbols.Symbol
	place   *KallsymsTable
}

// KallsymsTable is a kernel's table of symbols, as it is in memory.
type KallsymsTable struct {
	symbols.Blob // its address is the link address
	// BaseAt is the link address of the word in it that KASLR changes (kallsyms_relative_base), 8
	// bytes; 0 if there is none.
	BaseAt uint64
}

// NoNamesError is the error for a kernel without a readable table of symbols in its memory.
type NoNamesError struct {
	Err error
	// BuildIDs are the build-ids in the kernel's read-only data: its own and those of its vDSOs, in
	// any order.
	BuildIDs [][]byte
}

func (e *NoNamesError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *NoNamesError) Unwrap() error { return e.Err }

// OwnTables reads the symbols from the place in VMCOREINFO or, if info is nil or wrong, from all of
// the kernel's read-only data. The error is a [*NoNamesError] if there are none. progress, if not
// nil, is called with the bytes read so far and in total.
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

// kallsymsRange returns the range of the kernel's table of symbols, given the addresses in
// VMCOREINFO.
func (k *Kernel) kallsymsRange(ctx context.Context, p *KallsymsPlace) (mmu.Range, error) {
	if p.Count == 0 {
		return mmu.Range{}, errors.New("VMCOREINFO does not contain the place of kallsyms")
	}
	count, err := kmem.ReadUint(ctx, k.Space, p.Count, 4)
	if err != nil {
		return mmu.Range{}, err
	}
	const minTail, maxAddr = 1024, 8 // bytes: the index of the tokens; an address
	last := p.Last + max(minTail, maxAddr*count)
	if last-p.First > maxReadOnlyData {
		return mmu.Range{}, fmt.Errorf("kallsyms of %d symbols from %#x on: damaged", count, p.First)
	}
	return mmu.Range{First: p.First &^ (mmu.PageSize - 1), Last: last}, nil
}

// tablesIn reads the symbols in a part of the image. info is the kernel's VMCOREINFO, or nil.
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

// addData adds symbols of data to those of a kernel that has symbols of functions only (no
// CONFIG_KALLSYMS_ALL): those that are exported to modules, that of the log in VMCOREINFO, and that
// of the banner. Addresses are those of the running kernel.
func (t *OwnTables) addData(ctx context.Context, k *Kernel, info *VMCoreInfo, progress func(done, total uint64)) error {
	const maxPerCPU = 16 << 20 // bytes of per-CPU data, whose symbols were offsets until 6.14
	t.place = nil
	var err error
	if t.image, err = k.wholeReadOnlyData(ctx, t.image, progress); err != nil {
		return err
	}
	exports := kallsyms.FindExports(t.image.base, t.image.Data, t.symbols, func(addr uint64) bool {
		return addr >= ImageBase && addr < ImageBase+ImageSpan || addr < maxPerCPU
	})
	for i := range exports { // the next symbol may be far away
		exports[i].Size = UnknownSize
	}
	t.symbols = append(t.symbols, exports...)
	if at, size := bannerIn(t.image.Data); at >= 0 {
		t.symbols = append(t.symbols, symbols.Symbol{Name: "linux_banner", Addr: t.image.base + uint64(at), Size: uint64(size)})
	}
	if btf, ok := findBTF(t.image); ok {
		t.symbols = append(t.symbols, symbols.Symbol{Name: startBTF, Addr: btf.Addr, Size: UnknownSize},
			symbols.Symbol{Name: stopBTF, Addr: btf.Addr + uint64(len(btf.Data)), Size: UnknownSize})
	}
	if info != nil && info.Log != 0 {
		t.symbols = append(t.symbols, symbols.Symbol{Name: "prb", Addr: info.Log, Size: UnknownSize})
	}
	return nil
}

// bannerIn returns the offset of the kernel's banner in data, or -1, and its size.
func bannerIn(data []byte) (at, size int) {
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte(BannerStart))
		if i < 0 {
			return -1, 0
		}
		at = from + i
		line, _, _ := bytes.Cut(data[at:min(len(data), at+maxBanner)], []byte{'\n'})
		if isBanner(string(line)) {
			return at, len(line)
		}
		from = at + len(BannerStart)
	}
}

// BannerStart is how every kernel's linux_banner starts (init/version-timestamp.c).
const BannerStart = "Linux version "

// maxBanner bounds the kernel's banner, in bytes.
const maxBanner = 512

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

// Kallsyms returns the table that all symbols were read from. It is nil if some were found by a
// search through all of the kernel's data, which can have another result on another machine.
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

// image is a part of the kernel's image, with zeros for what could not be read.
type image struct {
	*kmem.Sparse
	base uint64 // virtual address at run time
}

// maxReadOnlyData bounds the kernel's read-only data, in bytes; kernels have 8 to 16 MB.
const maxReadOnlyData = 128 << 20

// readOnlyData finds the kernel's read-only data: the longest run of pages after its text that are
// neither executable nor writable. There can be shorter runs, such as a single page between text
// and data. If the kernel protects nothing (rodata=off), it is all pages after the text that are
// not executable.
func (k *Kernel) readOnlyData(ctx context.Context) (mmu.Range, error) {
	var run, longest, all mmu.Range
	image := mmu.Range{First: k.Text, Last: min(k.Text+maxReadOnlyData, ImageBase+ImageSpan) - 1}
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
	const minSize = 1 << 20 // bytes; single pages are ignored
	switch {
	case longest.Last-longest.First >= minSize:
		return longest, nil
	case all.First != 0:
		return all, nil
	}
	return mmu.Range{}, errors.New("nothing is mapped after the kernel's text")
}

// readImage reads a part of the image in pieces.
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
