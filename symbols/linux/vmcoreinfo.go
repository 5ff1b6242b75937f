package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"physgdb/bridge"
)

// VMCoreInfo is the part of a kernel's VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst)
// that helps to find the kernel.
type VMCoreInfo struct {
	Release  string // as printed by uname -r
	PhysBase int64  // see [Location.PhysBase]
	TopTable uint64 // virtual address of the kernel's own top-level page table, in the image
	Levels   int    // of page tables, 4 or 5; 0 if not contained
	Kallsyms KallsymsPlace
	Log      uint64 // virtual address of the variable prb, which points to the log; 0 if not contained
}

// KallsymsPlace has the virtual addresses of the parts of the kernel's table of symbols; all 0 if
// VMCOREINFO does not contain them, as before 6.0.
type KallsymsPlace struct {
	First, Last uint64 // the parts that come first and last in memory
	Count       uint64 // the number of symbols, 32 bits
}

// CR3 returns the physical address of the kernel's own top-level page table.
func (v *VMCoreInfo) CR3() uint64 { return v.TopTable - ImageBase + uint64(v.PhysBase) }

// VMCoreInfoStart is the start of the text in every kernel (kernel/vmcore_info.c).
const VMCoreInfoStart = "OSRELEASE="

// The ELF note that contains the text (include/linux/vmcore_info.h, kernel/vmcore_info.c).
const (
	noteName   = "VMCOREINFO\x00"
	noteHeader = 12 // bytes: lengths of name and text, type; 32 bits each

	// VMCoreInfoNoteHeader is the size of what precedes the text in the note, in bytes.
	VMCoreInfoNoteHeader = noteHeader + (len(noteName)+3)&^3

	// maxVMCoreInfo bounds the text, in bytes; kernels give it a page.
	maxVMCoreInfo = 64 << 10
)

// VMCoreInfoNoteSize returns the size of the note at the start of p, in bytes, and whether it is
// one.
func VMCoreInfoNoteSize(p []byte) (n int, ok bool) {
	if len(p) < VMCoreInfoNoteHeader || !bytes.HasPrefix(p[noteHeader:], []byte(noteName)) {
		return 0, false
	}
	name := binary.LittleEndian.Uint32(p)
	text := binary.LittleEndian.Uint32(p[4:])
	kind := binary.LittleEndian.Uint32(p[8:])
	return VMCoreInfoNoteHeader + int(text), name == uint32(len(noteName)) && kind == 0 && text > 0 && text <= maxVMCoreInfo
}

// ParseVMCoreInfo parses the note, or the text alone, at the start of p. What follows it is
// ignored.
func ParseVMCoreInfo(p []byte) (*VMCoreInfo, error) {
	text := p
	if n, ok := VMCoreInfoNoteSize(p); ok {
		if n > len(p) {
			return nil, fmt.Errorf("VMCOREINFO: %d bytes of %d", len(p), n)
		}
		text = p[VMCoreInfoNoteHeader:n]
	} else if !bytes.HasPrefix(p, []byte(VMCoreInfoStart)) {
		return nil, errors.New("no VMCOREINFO")
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	values := map[string]string{}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte("="))
		values[string(key)] = string(value)
	}
	v := &VMCoreInfo{Release: values["OSRELEASE"]}
	var err error
	if v.PhysBase, err = strconv.ParseInt(values["NUMBER(phys_base)"], 10, 64); err != nil {
		return nil, errors.New("VMCOREINFO without a phys_base: damaged, or of a kernel before 4.10")
	}
	v.TopTable, err = strconv.ParseUint(values["SYMBOL(swapper_pg_dir)"], 16, 64)
	if err != nil || v.TopTable < ImageBase || v.TopTable >= ImageBase+ImageSpan || v.TopTable%bridge.PageSize != 0 ||
		v.CR3() >= 1<<52 {
		return nil, errors.New("VMCOREINFO without a believable swapper_pg_dir: damaged, or not of an x86-64 kernel")
	}
	v.Kallsyms, v.Log = kallsymsPlace(values), imageAddr(values["SYMBOL(prb)"])
	switch values["NUMBER(pgtable_l5_enabled)"] {
	case "0":
		v.Levels = 4
	case "1":
		v.Levels = 5
	}
	return v, nil
}

// imageAddr parses a hexadecimal address in the kernel's image. It returns 0 for others.
func imageAddr(text string) uint64 {
	addr, err := strconv.ParseUint(text, 16, 64)
	if err != nil || addr < ImageBase || addr >= ImageBase+ImageSpan {
		return 0
	}
	return addr
}

// kallsymsPlace finds the parts of the table of symbols (kernel/vmcore_info.c). relative_base no
// longer exists in 7.0.
func kallsymsPlace(values map[string]string) (p KallsymsPlace) {
	for key, text := range values {
		name, ok := strings.CutPrefix(key, "SYMBOL(kallsyms_")
		addr := imageAddr(text)
		if !ok || addr == 0 {
			continue
		}
		if p.First == 0 || addr < p.First {
			p.First = addr
		}
		p.Last = max(p.Last, addr)
		if name == "num_syms)" {
			p.Count = addr
		}
	}
	if p.Count == 0 {
		return KallsymsPlace{}
	}
	return p
}
