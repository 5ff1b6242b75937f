// Package linux identifies the Linux kernel of a dead x86-64 machine, and reads its symbols, types,
// CPUs, tasks and cause of death. Other packages find it in memory and read the rest of it.
package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/elffile"
)

// ErrOtherKernel is the error for a vmlinux that is not that of the kernel in memory.
var ErrOtherKernel = errors.New("the vmlinux is of another kernel")

// Options are options of [Attach] and [New].
type Options struct {
	CR3     uint64         // of any task of the machine
	Levels  int            // of its page tables, 4 or 5; 0 if not known
	Symbols *symbols.Table // of its vmlinux, or nil
	Debug   Debug          // of its vmlinux, or nil

	// Code, if not nil, returns the reader of the modules of the kernel. It must not read memory.
	Code func(*Kernel) Code
}

// Debug is the debug information of a vmlinux. Addresses are link addresses. The methods return
// errors if the file has no such information.
type Debug interface {
	Types() (symbols.Types, error)
	Unwinder() (symbols.Unwinder, error)
}

// Kernel is the kernel of a dead machine.
type Kernel struct {
	Location
	// FoundBy is how the kernel was found.
	FoundBy Method
	// Space is the address space in which the kernel is read.
	Space *mmu.Space
	// Slide is the KASLR offset: the distance of the kernel from its link address, in bytes.
	Slide uint64
	// Symbols are the symbols of the vmlinux, or nil. Addresses are link addresses.
	Symbols *symbols.Table
	// Code reads the modules of the kernel.
	Code Code

	m        *mmu.MMU
	newCode  func(*Kernel) Code
	debug    Debug // nil if there is none
	borrowed bool  // Symbols are addresses without sizes; see WithSymbols

	types         kmem.Lazy[symbols.Types]
	cpus          kmem.Lazy[*cpuList]
	taskMembers   kmem.Lazy[*taskReader]
	tasks         kmem.Lazy[*TaskList]
	unwinder      kmem.Lazy[symbols.Unwinder]
	framePointers kmem.Lazy[bool]
	death         kmem.Lazy[*Death]
	generated     kmem.Lazy[*Generated]
}

// New returns the kernel at l. It does not compare o.Symbols with the memory, and assumes that the
// kernel was linked at the default address.
func New(m *mmu.MMU, l *Location, o *Options) (*Kernel, error) {
	space, err := m.Space(l.Root)
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		Location: *l, FoundBy: ByCR3, Space: space, Slide: l.Text - defaultText, Symbols: o.Symbols, Code: noCode{}, m: m,
		newCode: o.Code, debug: o.Debug,
	}
	if o.Code != nil {
		k.Code = o.Code(k)
	}
	return k, nil
}

// derive returns the same kernel, read through m from the page tables at root, with other symbols
// and nothing cached.
func (k *Kernel) derive(m *mmu.MMU, root mmu.Root, names *symbols.Table, debug Debug) (*Kernel, error) {
	l := k.Location
	l.Root = root
	d, err := New(m, &l, &Options{Symbols: names, Debug: debug, Code: k.newCode})
	if err != nil {
		return nil, err
	}
	d.FoundBy, d.Slide = k.FoundBy, k.Slide
	return d, nil
}

// Attach finds the kernel under a CR3. The error is [ErrOtherKernel] if there are symbols and their
// build-id differs from that in memory.
func Attach(ctx context.Context, m *mmu.MMU, o *Options) (*Kernel, error) {
	l, err := Locate(ctx, m, o.CR3, o.Levels)
	if err != nil {
		return nil, err
	}
	return AttachAt(ctx, m, l, o)
}

// AttachAt identifies the kernel at l. The error is that of [Attach].
func AttachAt(ctx context.Context, m *mmu.MMU, l *Location, o *Options) (*Kernel, error) {
	k, err := New(m, l, o)
	if err != nil || o.Symbols == nil {
		return k, err
	}
	text, err := LinkAddr(o.Symbols)
	if err != nil {
		return nil, err
	}
	k.Slide = k.Text - text
	return k, k.checkBuildID(ctx)
}

// LinkAddr returns the link address of _text, which every vmlinux has.
func LinkAddr(vmlinux *symbols.Table) (uint64, error) {
	text, ok := vmlinux.Lookup("_text")
	if !ok {
		return 0, fmt.Errorf("%w, or of none: it has no symbol _text", ErrOtherKernel)
	}
	return text.Addr, nil
}

// maxNotes bounds the kernel's ELF notes, in bytes; kernels have some 500.
const maxNotes = 64 << 10

// checkBuildID compares the build-id in memory with that of the vmlinux. The rest of the image
// cannot be compared: the kernel patches its text and relocates its data during boot.
func (k *Kernel) checkBuildID(ctx context.Context) error {
	start, ok1 := k.Addr("__start_notes")
	stop, ok2 := k.Addr("__stop_notes")
	if !ok1 || !ok2 || stop < start || stop-start > maxNotes || len(k.Symbols.BuildID) == 0 {
		return fmt.Errorf("%w, or not a vmlinux at all: it has no build-id", ErrOtherKernel)
	}
	notes := make([]byte, stop-start)
	if _, err := k.Space.ReadMemory(ctx, start, notes); err != nil {
		return fmt.Errorf("%w, or memory is damaged: read the build-id: %w", ErrOtherKernel, err)
	}
	id := elffile.BuildID(notes)
	if bytes.Equal(id, k.Symbols.BuildID) {
		return nil
	}
	inRAM := fmt.Sprintf("memory has %x", id)
	if id == nil {
		inRAM = "memory has none where that would lie"
	}
	if words := strings.Fields(k.searchBanner(ctx)); len(words) > 2 {
		inRAM += ", and is of Linux " + words[2]
	}
	return fmt.Errorf("%w: its build-id is %x, %s; get the vmlinux of the kernel that ran",
		ErrOtherKernel, k.Symbols.BuildID, inRAM)
}

// ReadNotes returns the kernel's ELF notes with their link address. It is empty if they cannot be
// read.
func (k *Kernel) ReadNotes(ctx context.Context) symbols.Blob {
	notes, err := k.readBetween(ctx, "__start_notes", "__stop_notes", maxNotes)
	if err != nil {
		return symbols.Blob{}
	}
	return notes
}

// Addr returns the address of a symbol in the running kernel. Per-CPU symbols are offsets; the
// slide is not added to them.
func (k *Kernel) Addr(name string) (uint64, bool) {
	if k.Symbols == nil {
		return 0, false
	}
	s, ok := k.Symbols.Lookup(name)
	if ok && s.Addr >= ImageBase {
		s.Addr += k.Slide
	}
	return s.Addr, ok
}

// Addrs returns the addresses of all symbols with a name, in ascending order. Static functions and
// variables often share a name.
func (k *Kernel) Addrs(name string) (addrs []uint64) {
	if k.Symbols == nil {
		return nil
	}
	for _, s := range k.Symbols.LookupAll(name) {
		if s.Addr >= ImageBase {
			s.Addr += k.Slide
		}
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Name returns an address of the running kernel as symbol+0xoffset/0xsize, as in the kernel's log,
// or "". It does not know modules; see [Kernel.NameAt].
func (k *Kernel) Name(addr uint64) string {
	p, ok := k.place(addr)
	if !ok {
		return ""
	}
	return p.String()
}

// SpaceOf returns the address space under the CR3 of another task. The error says if it does not
// map this kernel at the same address.
func (k *Kernel) SpaceOf(ctx context.Context, cr3 uint64) (*mmu.Space, error) {
	l, err := Locate(ctx, k.m, cr3, k.Root.Levels)
	if err != nil {
		return nil, err
	}
	if l.Text != k.Text || l.TextPhys != k.TextPhys {
		return nil, fmt.Errorf("CR3 %#x maps another kernel, at %#x", cr3, l.Text)
	}
	return k.m.Space(l.Root)
}

// Banner returns the first line of the kernel's log, "Linux version …", or "" if it cannot be read.
// Without symbols, the image is searched for it.
func (k *Kernel) Banner(ctx context.Context) string {
	addr, ok := k.Addr("linux_banner")
	if !ok {
		return k.searchBanner(ctx)
	}
	return k.readBanner(ctx, addr)
}

func (k *Kernel) readBanner(ctx context.Context, addr uint64) string {
	p := make([]byte, maxBanner)
	n, _ := k.Space.ReadMemory(ctx, addr, p)
	line, _, _ := bytes.Cut(p[:n], []byte{'\n'})
	return string(bytes.TrimRight(line, "\x00"))
}

// searchBanner searches the image for the banner, which is in the read-only data after the text.
func (k *Kernel) searchBanner(ctx context.Context) string {
	const maxDistance, piece = 64 << 20, 1 << 20
	start := []byte(BannerStart)
	p := make([]byte, piece+len(start))
	for at := k.Text; at < k.Text+maxDistance; at += piece {
		n, _ := k.Space.ReadMemory(ctx, at, p)
		for from := 0; ; {
			i := bytes.Index(p[from:n], start)
			if i < 0 {
				break
			}
			from += i + len(start)
			line := k.readBanner(ctx, at+uint64(from-len(start)))
			if isBanner(line) {
				return line
			}
		}
		if ctx.Err() != nil {
			return ""
		}
	}
	return ""
}

// isBanner reports whether a line is a kernel's banner. The template that it is made from has no
// build number.
func isBanner(line string) bool {
	_, build, ok := strings.Cut(line, "#")
	return ok && build != "" && build[0] >= '1' && build[0] <= '9'
}

// NoSymbol returns the error for symbols that the kernel does not have.
func (k *Kernel) NoSymbol(names ...string) error {
	list := strings.Join(names, " and ")
	if k.NamesFunctionsOnly() {
		return fmt.Errorf("the address of %s is not known: this kernel has names of functions only (no CONFIG_KALLSYMS_ALL); "+
			"give --vmlinux FILE", list)
	}
	return fmt.Errorf("the kernel has no symbol %s", list)
}

// NamesFunctionsOnly reports whether the symbols are those of a kernel without CONFIG_KALLSYMS_ALL,
// which has no names of data. The test is init_top_pgt: every kernel has it, and it is not exported
// to modules.
func (k *Kernel) NamesFunctionsOnly() bool {
	_, functions := k.Addr("_text")
	_, data := k.Addr("init_top_pgt")
	return functions && !data && !k.borrowed
}

// ReadSymbol reads a little-endian number of size bytes, at most 8, at the address of a symbol.
func (k *Kernel) ReadSymbol(ctx context.Context, name string, size int) (uint64, error) {
	addr, ok := k.Addr(name)
	if !ok {
		return 0, k.NoSymbol(name)
	}
	v, err := kmem.ReadUint(ctx, k.Space, addr, size)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// CommandLine returns the command line that the boot loader passed to the kernel.
func (k *Kernel) CommandLine(ctx context.Context) (string, error) {
	const maxSize = 4096 // bytes; COMMAND_LINE_SIZE of x86 is smaller (arch/x86/include/asm/setup.h)
	addr, err := k.ReadSymbol(ctx, "saved_command_line", 8)
	if err != nil {
		return "", err
	}
	p := make([]byte, maxSize)
	n, err := k.Space.ReadMemory(ctx, addr, p)
	text := kmem.CString(p[:n])
	if len(text) < n {
		err = nil
	}
	return text, err
}
