package hostile

import (
	"context"
	"encoding/binary"
	"errors"
)

// longArrays changes every array of 16 elements in the kernel's BTF to one of 60,000 (Documentation/bpf/btf.rst).
func longArrays(im *Image) error {
	const usual, long = 16, 60_000
	changed := 0
	err := eachType(im, func(kind int, data []byte) {
		const array, count = 3, 12 + 8 // the kind, and where struct btf_array has nelems
		if kind == array && binary.LittleEndian.Uint32(data[count:]) == usual {
			binary.LittleEndian.PutUint32(data[count:], long)
			changed++
		}
	})
	if err == nil && changed == 0 {
		err = errors.New("the BTF has no array of 16 elements")
	}
	return err
}

// eachType calls visit with the kind of each type of the kernel's BTF and with its bytes, which it may change. BTF that lies in one
// large page is one piece of RAM.
func eachType(im *Image, visit func(kind int, data []byte)) error {
	start, err1 := im.Addr("__start_BTF")
	stop, err2 := im.Addr("__stop_BTF")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// The image of the kernel is one piece of RAM.
	first, err := im.Kernel.Space.Translate(context.Background(), start)
	if err != nil {
		return err
	}
	raw := im.RAM[first.Phys(start):][:stop-start]
	le := binary.LittleEndian
	types := raw[le.Uint32(raw[4:])+le.Uint32(raw[8:]):][:le.Uint32(raw[12:])]
	for len(types) >= 12 {
		info := le.Uint32(types[4:])
		kind, parts := int(info>>24&0x1f), int(info&0xffff)
		size := 12
		switch kind {
		case 1, 14, 17: // int, variable, declaration tag
			size += 4
		case 3: // array
			size += 12
		case 4, 5, 15, 19: // struct, union, section, enumeration of 64 bits
			size += 12 * parts
		case 6, 13: // enumeration, prototype
			size += 8 * parts
		}
		if size > len(types) {
			return errors.New("the BTF is damaged")
		}
		visit(kind, types[:size])
		types = types[size:]
	}
	return nil
}
