package elfsynth

// addGlobals writes an entry for each variable whose type is known, of those that there are.
func (u *unit) addGlobals(globals []Global, n *names) {
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
	kind kind
	name string
}

type typeIndex map[typeName]uint32

// typesByName indexes what has a name, except functions. Of several of a name the first counts.
func (u *unit) typesByName() typeIndex {
	ids := typeIndex{}
	for id := uint32(1); id < u.count(); id++ {
		switch u.kinds[id] {
		case kindInt, kindStruct, kindUnion, kindEnum, kindEnum64, kindTypedef:
			if u.entries[id] == 0 {
				continue
			}
			key := typeName{u.kinds[id], string(u.types.name(u.record(id).name))}
			if _, seen := ids[key]; !seen {
				ids[key] = id
			}
		}
	}
	return ids
}

// find returns the type that a declaration names; 0 is void.
func (ids typeIndex) find(d declared) (id uint32, ok bool) {
	if d.kinds[0] == kindVoid {
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

// addGlobal writes a variable, and before it the pointers and arrays that its type is made of.
func (u *unit) addGlobal(name string, d declared, base uint32, n *names, symbol int) {
	s := &n.symbols[symbol]
	typ := func() { u.ref(base) }
	size := u.sizes[base]
	for range d.pointers {
		typ, size = u.pointTo(typ, base == 0 && size == 0), addrSize
	}
	if len(d.lengths) > 0 {
		typ = u.arrayOf(typ, fill(d.lengths, size, s.Size))
	}
	u.addVar(u.strs.add(name), !s.Local, s.Addr, typ)
}

// pointTo writes a pointer and returns what refers to it.
func (u *unit) pointTo(typ func(), void bool) (ref func()) {
	at := uint32(len(u.info))
	if void {
		u.begin(abbrevVoidPtr)
		u.byte(addrSize)
	} else {
		u.begin(abbrevPtr)
		u.byte(addrSize)
		typ()
	}
	return func() { u.str(at) }
}

func (u *unit) arrayOf(typ func(), lengths []uint64) (ref func()) {
	at := uint32(len(u.info))
	u.begin(abbrevArray)
	typ()
	for _, length := range lengths {
		u.addCount(length)
	}
	u.begin(abbrevEnd)
	return func() { u.str(at) }
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
