package memimage

import (
	"bytes"
	"encoding/binary"
	"os"

	"physgdb/bridge"
)

// LinkText is the link address of _text in the vmlinux of a [Kernel].
const LinkText = 0xffffffff81000000

// What a [Kernel] maps besides its image, in every address space.
const (
	UserVA = 0x400000 // a user page, r-x, whose content differs between address spaces
	HoleVA = 0x401000 // the next page, which is not mapped
)

// BuildID is the default build-id of a [Kernel].
const BuildID = "\xca\xfe\xba\xbe"

// Banner is the text at linux_banner of a [Kernel].
const Banner = "Linux version 6.1 (test)\n"

const (
	hugePage  = 2 << 20
	textPages = 9 // 2 MiB each; the last holds the banner. One page of data follows.
	linkData  = LinkText + textPages*hugePage

	linkDumpText = linkData + 0x400 // of what vmcoreinfo_data points to
)

// KernelOptions configure a [Kernel]. Zero values are defaults.
type KernelOptions struct {
	Levels   int             // of paging, 4 or 5; 0 means 4
	Slide    uint64          // of KASLR, a multiple of 2 MiB
	TextPhys bridge.PhysAddr // of _text, 4 MiB or more; 0 means 4 MiB
	NoKPTI   bool            // one top-level table for an address space, not a pair
	BuildID  string          // in memory; "" means the constant
	In       *Image          // shared with other kernels; nil means a new one
	// High is added to all physical addresses from TextPhys on in the page tables: an address
	// High+TextPhys there is TextPhys in the image.
	High bridge.PhysAddr
}

// Kernel is the memory of a machine with a dead Linux kernel in it: nine pages of text and one of
// data, of 2 MiB each, mapped as Linux does.
type Kernel struct {
	*Image
	KernelOptions
	CR3 uint64 // of an address space, its kernel half if there are two; the user half is the next page
}

// NewKernel returns a kernel; a nil o means defaults.
func NewKernel(o *KernelOptions) *Kernel {
	k := &Kernel{}
	if o != nil {
		k.KernelOptions = *o
	}
	orElse(&k.Levels, 4)
	orElse(&k.TextPhys, 4<<20)
	orElse(&k.BuildID, BuildID)
	if k.Image = k.In; k.In == nil {
		k.Image = New(int(k.TextPhys) + (textPages+1)*hugePage)
	}
	k.CR3 = k.AddProcess("panicked")
	k.place("init_top_pgt", string(k.upperHalf()))
	k.place("linux_banner", Banner)
	k.place("__start_notes", buildIDNote(k.BuildID))
	k.place("vmcoreinfo_data", string(binary.LittleEndian.AppendUint64(nil, linkDumpText+k.Slide)))
	copy(k.RAM[k.TextPhys+linkDumpText-LinkText:], "OSRELEASE=6.1\n")
	k.place("nr_cpu_ids", "\x46\x00\x00\x00")                                      // 70
	k.place("__cpu_possible_mask", "\x05\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00") // CPUs 0, 2, 69
	return k
}

func orElse[T comparable](v *T, usual T) {
	var none T
	if *v == none {
		*v = usual
	}
}

// place writes bytes at a symbol.
func (k *Kernel) place(symbol, content string) { copy(k.RAM[k.offset(symbol):], content) }

// offset returns the offset of a symbol in the image.
func (k *Kernel) offset(symbol string) bridge.PhysAddr {
	for _, s := range k.Symbols() {
		if s.Name == symbol {
			return k.TextPhys + bridge.PhysAddr(s.Link-LinkText)
		}
	}
	panic("memimage: no symbol " + symbol)
}

// AddProcess adds an address space to the kernel, whose user page begins with text, and returns its
// CR3.
func (k *Kernel) AddProcess(text string) (cr3 uint64) {
	top := k.Page()
	for top&pageSize != 0 { // a pair is aligned to its size
		top = k.Page()
	}
	user := k.Page()
	for i := range uint64(textPages) {
		k.mapImage(top, i, 0)
	}
	k.mapImage(top, textPages, Writable|NX)
	content := k.Page()
	copy(k.RAM[content:], text)
	k.Map(top, k.Levels, 1, UserVA, content, User)
	if !k.NoKPTI {
		k.mapImage(user, 6, 0) // the entry text
		k.Map(user, k.Levels, 1, UserVA, content, User)
		entry := k.Entry(top, k.Levels, k.Levels, UserVA)
		k.Put64(entry, k.Get64(entry)|NX)
	}
	return uint64(top)
}

// mapImage maps the i-th page of the image.
func (k *Kernel) mapImage(top bridge.PhysAddr, i, bits uint64) {
	off := i * hugePage
	k.Map(top, k.Levels, 2, LinkText+k.Slide+off, k.High+k.TextPhys+bridge.PhysAddr(off), bits)
}

// Text returns the address of _text as the kernel ran.
func (k *Kernel) Text() uint64 { return LinkText + k.Slide }

// Symbol is a name in a [Kernel]'s vmlinux.
type Symbol struct {
	Name string
	Link uint64 // link address, or offset of a per-CPU variable
	Size uint64 // bytes; 0 if unknown
	Func bool
}

// Symbols are the names in the kernel's vmlinux.
func (k *Kernel) Symbols() []Symbol {
	return []Symbol{
		{Name: "_text", Link: LinkText},
		{Name: "panic", Link: LinkText + 0x1000, Size: 0x200, Func: true},
		{Name: "linux_banner", Link: LinkText + 8*hugePage},
		{Name: "__start_notes", Link: linkData},
		{Name: "__stop_notes", Link: linkData + uint64(len(buildIDNote(k.BuildID)))},
		{Name: "nr_cpu_ids", Link: linkData + 0x100},
		{Name: "__cpu_possible_mask", Link: linkData + 0x200},
		{Name: "vmcoreinfo_data", Link: linkData + 0x300, Size: 8},
		{Name: "init_task", Link: linkData + 0x1000, Size: 0x100},
		{Name: "init_top_pgt", Link: linkData + 0x2000, Size: pageSize},
		{Name: "iomem_resource", Link: linkData + 0x10000},
		{Name: "runqueues", Link: 0x35e80},
	}
}

// WriteFile writes the RAM to a file, with holes where it is zero.
func (im *Image) WriteFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() // no effect after the Close below
	zero := make([]byte, pageSize)
	for at := 0; at < len(im.RAM); at += pageSize {
		page := im.RAM[at:min(at+pageSize, len(im.RAM))]
		if bytes.Equal(page, zero[:len(page)]) {
			continue
		}
		if _, err := f.WriteAt(page, int64(at)); err != nil {
			return err
		}
	}
	if err := f.Truncate(int64(len(im.RAM))); err != nil {
		return err
	}
	return f.Close()
}
