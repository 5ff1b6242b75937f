package klog

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// typesOf returns the layout of the log's structs: from the kernel's types or, for a kernel without
// them, from its VMCOREINFO.
func typesOf(ctx context.Context, k *linux.Kernel) (symbols.Types, error) {
	types, err := k.Types(ctx)
	if err == nil || ctx.Err() != nil {
		return types, err
	}
	text, wrong := k.VMCoreInfoText(ctx)
	if wrong != nil {
		return nil, fmt.Errorf("%w; VMCOREINFO: %w", err, wrong)
	}
	return newVMCoreInfoTypes(text), nil
}

// vmcoreInfoTypes are the sizes and offsets in VMCOREINFO (log_buf_vmcoreinfo_setup(),
// kernel/printk/printk.c of 5.10 and later). They contain only members that [ring] reads.
type vmcoreInfoTypes map[string]uint64

// newVMCoreInfoTypes parses the numbers in the text of VMCOREINFO.
func newVMCoreInfoTypes(text []byte) vmcoreInfoTypes {
	t := vmcoreInfoTypes{}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		if n, err := strconv.ParseUint(value, 10, 32); err == nil {
			t[key] = n
		}
	}
	return t
}

// structs has the types of members that are structs, sizes the sizes of others in bytes (struct
// printk_ringbuffer, prb_desc and printk_info, kernel/printk/printk_ringbuffer.h).
var (
	structs = map[string]string{
		"printk_ringbuffer.desc_ring": "prb_desc_ring", "printk_ringbuffer.text_data_ring": "prb_data_ring",
		"prb_desc.text_blk_lpos": "prb_data_blk_lpos", "printk_info.dev_info": "dev_printk_info",
	}
	sizes = map[string]uint64{
		"prb_desc_ring.count_bits": 4, "prb_desc_ring.descs": 8, "prb_desc_ring.infos": 8, "prb_desc_ring.head_id": 8,
		"prb_desc_ring.tail_id": 8, "prb_data_ring.size_bits": 4, "prb_data_ring.data": 8, "prb_desc.state_var": 8,
		"prb_data_blk_lpos.begin": 8, "prb_data_blk_lpos.next": 8, "printk_info.seq": 8, "printk_info.ts_nsec": 8,
		"printk_info.text_len": 2, "printk_info.caller_id": 4,
	}
)

// Field finds a member. The error is symbols.ErrNoMember if VMCOREINFO does not list it.
func (t vmcoreInfoTypes) Field(typ, path string) (symbols.Field, error) {
	if typ+"."+path == "printk_info.facility" { // not listed; it follows text_len
		f, err := t.Field(typ, "text_len")
		return symbols.Field{Offset: f.Offset + f.Size, Size: 1, Elem: 1}, err
	}
	name, rest, nested := strings.Cut(path, ".")
	member := typ + "." + name
	offset, ok := t["OFFSET("+member+")"]
	if !ok {
		return symbols.Field{}, fmt.Errorf("VMCOREINFO: struct %s: %s: %w", typ, name, symbols.ErrNoMember)
	}
	if nested {
		f, err := t.Field(structs[member], rest)
		f.Offset += offset
		return f, err
	}
	if length, ok := t["LENGTH(printk_info_"+name+")"]; ok && typ == "dev_printk_info" {
		return symbols.Field{Offset: offset, Size: length, Elem: 1}, nil
	}
	size, ok := sizes[member]
	if !ok {
		return symbols.Field{}, fmt.Errorf("VMCOREINFO: struct %s: size of %s: %w", typ, name, symbols.ErrNoMember)
	}
	return symbols.Field{Offset: offset, Size: size, Elem: size}, nil
}

// Size returns the size of a struct.
func (t vmcoreInfoTypes) Size(typ string) (uint64, error) {
	size, ok := t["SIZE("+typ+")"]
	if !ok {
		return 0, fmt.Errorf("VMCOREINFO: struct %s: %w", typ, symbols.ErrNoType)
	}
	return size, nil
}

// Enum reports that there are no enumerations.
func (t vmcoreInfoTypes) Enum(typ, constant string) (int64, error) {
	return 0, fmt.Errorf("VMCOREINFO: enum %s: %w", typ, symbols.ErrNoType)
}
