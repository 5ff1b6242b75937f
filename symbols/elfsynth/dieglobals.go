package elfsynth

import "physgdb/symbols/btf"

// addGlobals adds each variable whose type is known, of those that there are.
func (u *debugInfo) addGlobals(globals []Global, n *names) {
	if len(globals) == 0 {
		return
	}
	ids := u.typesByName()
	for _, g := range globals {
		i, ok := n.only([]byte(g.Name))
		d, parsed := parseType(g.Type)
		if !ok || !parsed {
			continue
		}
		if base, known := ids.find(d); known {
			u.addGlobal(g.Name, d, base, n, i)
		}
	}
}

// typeName is what a type of the program is asked for by.
type typeName struct {
	kind btf.Kind
	name string
}

type typeIndex map[typeName]uint32

// maxGlobalName is more than the names have of the types that are asked for, in bytes.
const maxGlobalName = 64

// typesByName indexes what has a name, except functions. Of several of a name the first counts.
func (u *debugInfo) typesByName() typeIndex {
	ids := typeIndex{}
	for id := uint32(1); id < u.Count(); id++ {
		switch u.Kind(id) {
		case btf.KindInt, btf.KindStruct, btf.KindUnion, btf.KindEnum, btf.KindEnum64, btf.KindTypedef:
			if u.entries[id] == 0 {
				continue
			}
			name := u.Name(u.Record(id).Name)
			if len(name) > maxGlobalName {
				continue
			}
			key := typeName{u.Kind(id), string(name)}
			if _, seen := ids[key]; !seen {
				ids[key] = id
			}
		}
	}
	return ids
}

// find returns the type that a declaration names; 0 is void.
func (ids typeIndex) find(d declared) (id uint32, ok bool) {
	if d.kinds[0] == btf.KindVoid {
		return 0, d.pointers > 0
	}
	for _, k := range d.kinds {
		for _, name := range d.names {
			if id, ok := ids[typeName{k, name}]; ok {
				return id, true
			}
		}
	}
	return 0, false
}

// addGlobal adds a variable, and writes the pointers and arrays that its type is made of.
func (u *debugInfo) addGlobal(name string, d declared, base uint32, n *names, symbol int) {
	s := &n.symbols[symbol]
	typ, size := u.entries[base], u.SizeOf(base)
	for range d.pointers {
		typ, size = u.pointTo(typ), addrSize
	}
	if len(d.lengths) > 0 {
		typ = u.arrayOf(typ, fill(d.lengths, size, s.Size))
	}
	u.vars = append(u.vars, variable{u.strs.add(name), s.Addr, !s.Local, typ})
}

// pointTo writes a pointer to the type whose entry is at typ, or to void, and returns where the
// pointer's is.
func (u *debugInfo) pointTo(typ uint32) (at uint32) {
	at = uint32(len(u.info))
	if typ == 0 {
		u.begin(abbrevVoidPtr)
		u.byte(addrSize)
		return at
	}
	u.begin(abbrevPtr)
	u.byte(addrSize)
	u.offset(typ)
	return at
}

// arrayOf writes an array of the type whose entry is at typ, and returns where the array's is.
func (u *debugInfo) arrayOf(typ uint32, lengths []uint64) (at uint32) {
	at = uint32(len(u.info))
	u.begin(abbrevArray)
	u.offset(typ)
	for _, length := range lengths {
		u.addCount(length)
	}
	u.begin(abbrevEnd)
	return at
}

// fill gives the outermost array, if it has no length, as many elements as the symbol has room for.
func fill(lengths []uint64, elem, room uint64) []uint64 {
	for _, n := range lengths[1:] {
		elem *= n
	}
	if lengths[0] != 0 || elem == 0 {
		return lengths
	}
	return append([]uint64{room / elem}, lengths[1:]...)
}
