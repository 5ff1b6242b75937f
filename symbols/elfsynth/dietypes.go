package elfsynth

import "physgdb/symbols/btf"

// addTypes writes an entry for each type that is wanted.
func (u *debugInfo) addTypes(want []want) {
	for id := uint32(1); id < u.Count() && !u.full(); id++ {
		switch {
		case want != nil && want[id] == wantNone:
		case want != nil && want[id] == wantName && u.Composite(id):
			u.entries[id] = uint32(len(u.info))
			u.declare(u.Record(id), u.Kind(id) == btf.KindUnion)
		default:
			u.addType(id)
		}
	}
}

func (u *debugInfo) addType(id uint32) {
	u.entries[id] = uint32(len(u.info))
	switch k := u.Kind(id); k {
	case btf.KindInt:
		u.addInt(u.Record(id))
	case btf.KindFloat:
		u.addFloat(u.Record(id))
	case btf.KindPtr:
		u.addPtr(u.Untagged(u.Ref(id)))
	case btf.KindArray:
		u.addArray(id)
	case btf.KindStruct, btf.KindUnion:
		u.addComposite(id)
	case btf.KindEnum, btf.KindEnum64:
		u.addEnum(u.Record(id))
	case btf.KindFwd:
		r := u.Record(id)
		u.declare(r, r.Flag)
	case btf.KindTypedef:
		u.addTypedef(id)
	case btf.KindConst, btf.KindVolatile, btf.KindRestrict:
		u.addQualifier(k, u.Untagged(u.Ref(id)))
	case btf.KindFuncProto:
		u.addProto(id)
	}
}

func (u *debugInfo) addInt(r btf.Record) {
	switch {
	case r.Value != 1 && r.Value != 2 && r.Value != 4 && r.Value != 8 && r.Value != 16:
		u.addUnknown()
	default:
		u.addBase(r.Name, u.intEncoding(r), byte(r.Value))
	}
}

// intEncoding recognizes characters by their names: BTF has a bit for them, which no kernel sets.
func (u *debugInfo) intEncoding(r btf.Record) byte {
	signed := r.IntEncoding()&btf.IntSigned != 0
	char := false
	switch string(u.Name(r.Name)) {
	case "char", "signed char", "unsigned char":
		char = true
	}
	switch {
	case r.IntEncoding()&btf.IntBool != 0:
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

func (u *debugInfo) addFloat(r btf.Record) {
	switch r.Value {
	case 2, 4, 8, 12, 16:
		u.addBase(r.Name, encodingFloat, byte(r.Value))
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

// addArray writes an array of arrays as one with several dimensions, as compilers do: debuggers
// then name it as in C.
func (u *debugInfo) addArray(id uint32) {
	const dimensions = 8 // maximum in one entry, because damaged types could have many
	if u.Untagged(u.Ref(id)) == 0 {
		u.addUnknown()
		return
	}
	var counts [dimensions]uint64
	n, elem := 0, id
	for u.Kind(elem) == btf.KindArray && u.Untagged(u.Ref(elem)) != 0 && n < dimensions {
		counts[n] = u.Elements(elem, u.Record(elem))
		elem = u.Untagged(u.Ref(elem))
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
	r := u.Record(id)
	named, nameless := abbrevStruct, abbrevAnonStruct
	if r.Kind == btf.KindUnion {
		named, nameless = abbrevUnion, abbrevAnonUnion
	}
	if u.anonymous(r.Name) {
		u.beginWith(r.Parts, nameless)
	} else {
		u.beginWith(r.Parts, named)
		u.text(r.Name)
	}
	u.uleb(uint64(r.Value))
	for i := range r.Parts {
		if m := u.Member(id, r, i); m.Type != 0 {
			u.addMember(m)
		}
	}
	u.end(r.Parts)
}

func (u *debugInfo) addMember(m btf.Member) {
	named, nameless := abbrevMember, abbrevAnonMember
	if m.Width != 0 {
		named, nameless = abbrevBitField, abbrevAnonBitField
	}
	if u.anonymous(m.Name) {
		u.begin(nameless)
	} else {
		u.begin(named)
		u.text(m.Name)
	}
	u.ref(m.Type)
	if m.Width == 0 {
		u.uleb(m.Bit / 8)
		return
	}
	u.uleb(m.Bit)
	u.uleb(uint64(m.Width))
}

func (u *debugInfo) addEnum(r btf.Record) {
	if r.Value != 1 && r.Value != 2 && r.Value != 4 && r.Value != 8 {
		u.addUnknown()
		return
	}
	if u.anonymous(r.Name) {
		u.beginWith(r.Parts, abbrevAnonEnum)
	} else {
		u.beginWith(r.Parts, abbrevEnum)
		u.text(r.Name)
	}
	u.byte(byte(r.Value))
	signed := u.Signed(r)
	for i := range r.Parts {
		name, value := u.Constant(r, i)
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
	u.end(r.Parts)
}

// declare writes a struct or union of which no more is known than its name.
func (u *debugInfo) declare(r btf.Record, union bool) {
	if union {
		u.begin(abbrevUnionDecl)
	} else {
		u.begin(abbrevStructDecl)
	}
	u.someName(r.Name)
}

func (u *debugInfo) addTypedef(id uint32) {
	to := u.Untagged(u.Ref(id))
	if to == 0 {
		u.begin(abbrevVoidTypedef)
		u.someName(u.Record(id).Name)
		return
	}
	u.begin(abbrevTypedef)
	u.someName(u.Record(id).Name)
	u.ref(to)
}

func (u *debugInfo) addQualifier(k btf.Kind, of uint32) {
	some, void := abbrevConst, abbrevVoidConst
	switch k {
	case btf.KindVolatile:
		some, void = abbrevVolatile, abbrevVoidVolatile
	case btf.KindRestrict:
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
	r := u.Record(id)
	if result := u.Untagged(u.Ref(id)); result != 0 {
		u.beginWith(r.Parts, abbrevProto)
		u.ref(result)
	} else {
		u.beginWith(r.Parts, abbrevVoidProto)
	}
	u.addParams(id, r)
}

// addParams writes the parameters of a prototype, and the end of what has them.
func (u *debugInfo) addParams(id uint32, r btf.Record) {
	for i := range r.Parts {
		switch name, typ := u.Param(id, r, i); {
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
	u.end(r.Parts)
}
