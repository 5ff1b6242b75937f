package hostile

import (
	"encoding/binary"
	"errors"
)

// longArrays changes every array of 16 elements in the kernel's BTF to one of 60,000
// (Documentation/bpf/btf.rst).
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

// typesInACircle makes each type that refers to one other refer to itself. All members of structs
// have the type of the struct.
func typesInACircle(im *Image) error {
	number := uint32(0)
	return eachType(im, func(kind int, data []byte) {
		const (
			typeAt, header, memberSize = 8, 12, 12 // bytes
			pointer, array             = 2, 3
		)
		number++
		le := binary.LittleEndian
		switch kind {
		case pointer, 8, 9, 10, 11, 18: // typedef, volatile, const, restrict, type tag
			le.PutUint32(data[typeAt:], number)
		case array:
			le.PutUint32(data[header:], number)
			le.PutUint32(data[header+8:], ^uint32(0)) // elements
		case 4, 5: // struct, union
			for i := header; i < len(data); i += memberSize {
				le.PutUint32(data[i+4:], number)
			}
		}
	})
}

// largeBTF sets the sizes of the BTF's sections to their maximum.
func largeBTF(im *Image) error {
	raw, err := between(im, "__start_BTF", "__stop_BTF")
	if err == nil {
		binary.LittleEndian.PutUint32(raw[12:], ^uint32(3)) // type_len
		binary.LittleEndian.PutUint32(raw[20:], ^uint32(0)) // str_len
	}
	return err
}

// endlessBTFNames removes the terminators of all names in the BTF.
func endlessBTFNames(im *Image) error {
	raw, err := between(im, "__start_BTF", "__stop_BTF")
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	names := raw[le.Uint32(raw[4:])+le.Uint32(raw[16:]):][:le.Uint32(raw[20:])]
	for i := 1; i < len(names); i++ {
		if names[i] == 0 {
			names[i] = '_'
		}
	}
	return nil
}

// eachType calls visit with the kind of each type of the kernel's BTF and with its bytes, which it
// may change. BTF in one large page is contiguous in RAM.
func eachType(im *Image, visit func(kind int, data []byte)) error {
	raw, err := between(im, "__start_BTF", "__stop_BTF")
	if err != nil {
		return err
	}
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
