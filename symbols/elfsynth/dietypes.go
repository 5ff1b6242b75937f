package elfsynth

// addTypes writes an entry for each type that is wanted.
func (u *debugInfo) addTypes(want []want) {
	for id := uint32(1); id < u.count() && !u.full(); id++ {
		switch {
		case want != nil && want[id] == wantNone:
		case want != nil && want[id] == wantName && u.composite(id):
			u.entries[id] = uint32(len(u.info))
			u.declare(u.record(id), u.kinds[id] == kindUnion)
		default:
			u.addType(id)
		}
	}
}

func (u *debugInfo) addType(id uint32) {
	u.entries[id] = uint32(len(u.info))
	switch k := u.kinds[id]; k {
	case kindInt:
		u.addInt(u.record(id))
	case kindFloat:
		u.addFloat(u.record(id))
	case kindPtr:
		u.addPtr(u.untagged(u.refs[id]))
	case kindArray:
		u.addArray(id)
	case kindStruct, kindUnion:
		u.addComposite(id)
	case kindEnum, kindEnum64:
		u.addEnum(u.record(id))
	case kindFwd:
		r := u.record(id)
		u.declare(r, r.flag)
	case kindTypedef:
		u.addTypedef(id)
	case kindConst, kindVolatile, kindRestrict:
		u.addQualifier(k, u.untagged(u.refs[id]))
	case kindFuncProto:
		u.addProto(id)
	}
}

func (u *debugInfo) addInt(r record) {
	switch {
	case r.value != 1 && r.value != 2 && r.value != 4 && r.value != 8 && r.value != 16:
		u.addUnknown()
	default:
		u.addBase(r.name, u.intEncoding(r), byte(r.value))
	}
}

// intEncoding tells characters by their names: BTF has a bit for them, which no kernel sets.
func (u *debugInfo) intEncoding(r record) byte {
	signed := r.intEncoding()&intSigned != 0
	char := false
	switch string(u.types.name(r.name)) {
	case "char", "signed char", "unsigned char":
		char = true
	}
	switch {
	case r.intEncoding()&intBool != 0:
		return encodingBool
	case char && signed:
		return encodingSignedChar
	case char:
		return encodingUnsignedChar
	case signed:
		return encodingSigned
	}
	return encodingUnsigned
}

func (u *debugInfo) addFloat(r record) {
	switch r.value {
	case 2, 4, 8, 12, 16:
		u.addBase(r.name, encodingFloat, byte(r.value))
	default:
		u.addUnknown()
	}
}

func (u *debugInfo) addBase(name uint32, encoding, size byte) {
	u.begin(abbrevBase)
	u.someName(name)
	u.byte(encoding)
	u.byte(size)
}

// addUnknown writes an entry in the place of what cannot be.
func (u *debugInfo) addUnknown() {
	u.begin(abbrevUnknown)
	u.offset(u.unknown)
}

func (u *debugInfo) addPtr(to uint32) {
	if to == 0 {
		u.begin(abbrevVoidPtr)
		u.byte(addrSize)
		return
	}
	u.begin(abbrevPtr)
	u.byte(addrSize)
	u.ref(to)
}

// addArray writes an array of arrays as one with several dimensions, as compilers do: debuggers then name it as in C.
func (u *debugInfo) addArray(id uint32) {
	const dimensions = 8 // no more in one entry, lest damaged types make it huge
	if u.untagged(u.refs[id]) == 0 {
		u.addUnknown()
		return
	}
	var counts [dimensions]uint64
	n, elem := 0, id
	for u.kinds[elem] == kindArray && u.untagged(u.refs[elem]) != 0 && n < dimensions {
		counts[n] = u.elements(elem, u.record(elem))
		elem = u.untagged(u.refs[elem])
		n++
	}
	u.begin(abbrevArray)
	u.ref(elem)
	for _, count := range counts[:n] {
		u.addCount(count)
	}
	u.begin(abbrevEnd)
}

func (u *debugInfo) addCount(n uint64) {
	if n == 0 {
		u.begin(abbrevNoCount)
		return
	}
	u.begin(abbrevCount)
	u.uleb(n)
}

func (u *debugInfo) addComposite(id uint32) {
	r := u.record(id)
	named, nameless := abbrevStruct, abbrevAnonStruct
	if r.kind == kindUnion {
		named, nameless = abbrevUnion, abbrevAnonUnion
	}
	if u.anonymous(r.name) {
		u.beginWith(r.parts, nameless)
	} else {
		u.beginWith(r.parts, named)
		u.text(r.name)
	}
	u.uleb(uint64(r.value))
	for i := range r.parts {
		if m := u.member(id, r, i); m.typ != 0 {
			u.addMember(m)
		}
	}
	u.end(r.parts)
}

func (u *debugInfo) addMember(m member) {
	named, nameless := abbrevMember, abbrevAnonMember
	if m.width != 0 {
		named, nameless = abbrevBitField, abbrevAnonBitField
	}
	if u.anonymous(m.name) {
		u.begin(nameless)
	} else {
		u.begin(named)
		u.text(m.name)
	}
	u.ref(m.typ)
	if m.width == 0 {
		u.uleb(m.bit / 8)
		return
	}
	u.uleb(m.bit)
	u.uleb(uint64(m.width))
}

func (u *debugInfo) addEnum(r record) {
	if r.value != 1 && r.value != 2 && r.value != 4 && r.value != 8 {
		u.addUnknown()
		return
	}
	if u.anonymous(r.name) {
		u.beginWith(r.parts, abbrevAnonEnum)
	} else {
		u.beginWith(r.parts, abbrevEnum)
		u.text(r.name)
	}
	u.byte(byte(r.value))
	signed := u.signed(r)
	for i := range r.parts {
		name, value := u.constant(r, i)
		if signed {
			u.begin(abbrevSigned)
			u.text(name)
			u.sleb(value)
		} else {
			u.begin(abbrevUnsigned)
			u.text(name)
			u.uleb(uint64(value))
		}
	}
	u.end(r.parts)
}

// declare writes a struct or union of which no more is known than its name.
func (u *debugInfo) declare(r record, union bool) {
	if union {
		u.begin(abbrevUnionDecl)
	} else {
		u.begin(abbrevStructDecl)
	}
	u.someName(r.name)
}

func (u *debugInfo) addTypedef(id uint32) {
	to := u.untagged(u.refs[id])
	if to == 0 {
		u.begin(abbrevVoidTypedef)
		u.someName(u.record(id).name)
		return
	}
	u.begin(abbrevTypedef)
	u.someName(u.record(id).name)
	u.ref(to)
}

func (u *debugInfo) addQualifier(k kind, of uint32) {
	some, void := abbrevConst, abbrevVoidConst
	switch k {
	case kindVolatile:
		some, void = abbrevVolatile, abbrevVoidVolatile
	case kindRestrict:
		some, void = abbrevRestrict, abbrevVoidRestrict
	}
	if of == 0 {
		u.begin(void)
		return
	}
	u.begin(some)
	u.ref(of)
}

func (u *debugInfo) addProto(id uint32) {
	r := u.record(id)
	if result := u.untagged(u.refs[id]); result != 0 {
		u.beginWith(r.parts, abbrevProto)
		u.ref(result)
	} else {
		u.beginWith(r.parts, abbrevVoidProto)
	}
	u.addParams(id, r)
}

// addParams writes the parameters of a prototype, and the end of what has them.
func (u *debugInfo) addParams(id uint32, r record) {
	for i := range r.parts {
		switch name, typ := u.param(id, r, i); {
		case typ == 0:
			u.begin(abbrevMoreParams)
		case u.anonymous(name):
			u.begin(abbrevParam)
			u.ref(typ)
		default:
			u.begin(abbrevNamedParam)
			u.text(name)
			u.ref(typ)
		}
	}
	u.end(r.parts)
}
