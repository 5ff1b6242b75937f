package hostile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// swapNames swaps the name of a function in kallsyms with that of another whose compressed name has
// as many bytes. Only the names are wrong: the build-id and everything else is unchanged. It
// returns the other name.
func swapNames(im *Image, name string) (other string, err error) {
	entries, err := kallsymsNames(im)
	if err != nil {
		return "", err
	}
	for _, a := range entries {
		if a.name != name {
			continue
		}
		for _, b := range entries {
			// Far from the first, because adjacent symbols often have similar names and uses.
			if far := &b.packed[0] != &a.packed[0]; far && b.kind == a.kind && len(b.packed) == len(a.packed) && len(b.name) > len(name)+4 {
				was := bytes.Clone(a.packed)
				copy(a.packed, b.packed)
				copy(b.packed, was)
				return b.name, nil
			}
		}
		return "", fmt.Errorf("no other name has the size of that of %s", name)
	}
	return "", fmt.Errorf("kallsyms has no %s", name)
}

// kallsymsName is a name in kallsyms: its type letter, and its bytes without the size.
type kallsymsName struct {
	kind   byte
	name   string
	packed []byte
}

// kallsymsNames reads all names (kallsyms_expand_symbol(), kernel/kallsyms.c).
func kallsymsNames(im *Image) (entries []kallsymsName, err error) {
	names, err1 := between(im, "kallsyms_names", "kallsyms_markers")
	table, err2 := between(im, "kallsyms_token_table", "kallsyms_token_index")
	indexAt, err3 := im.Addr("kallsyms_token_index")
	countAt, err4 := im.Addr("kallsyms_num_syms")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	index, err1 := im.image(indexAt)
	number, err2 := im.image(countAt)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for range binary.LittleEndian.Uint32(number) {
		size, header := int(names[0]), 1
		if size&0x80 != 0 { // since 6.1
			size, header = size&0x7f|int(names[1])<<7, 2
		}
		e := kallsymsName{packed: names[header : header+size]}
		for _, token := range e.packed {
			text, _, _ := bytes.Cut(table[binary.LittleEndian.Uint16(index[2*int(token):]):], []byte{0})
			e.name += string(text)
		}
		e.kind, e.name = e.name[0], e.name[1:]
		entries = append(entries, e)
		names = names[header+size:]
	}
	return entries, nil
}
