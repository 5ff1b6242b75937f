package elfsynth

// want says how much of a type of the kernel a module's file has to tell. Debuggers find the rest in the kernel's file.
type want uint8

const (
	wantNone want = iota
	wantName
	wantWhole
)

// wanted returns what is wanted of each type: of a kernel nil, for everything; of a module all its own types, and of
// the kernel's those that they are made of. Of a struct that they only point to the name is enough.
func (t *types) wanted() []want {
	if t.first == 1 {
		return nil
	}
	w := wanting{t, make([]want, t.count()), nil}
	for id := t.first; id < t.count(); id++ {
		w.add(id, wantWhole)
	}
	for len(w.todo) > 0 {
		id := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.addPartsOf(id)
	}
	return w.want
}

type wanting struct {
	*types
	want []want
	todo []uint32 // whose parts are to be added
}

// add wants a type. Of a typedef or a qualifier, to want the name is to want the name of what stands behind it.
func (w *wanting) add(id uint32, how want) {
	id = w.untagged(id)
	if id == 0 {
		return
	}
	if how == wantName && !w.alias(id) && !w.canBeNamed(id) {
		how = wantWhole
	}
	if w.want[id] < how {
		w.want[id] = how
		w.todo = append(w.todo, id)
	}
}

func (w *wanting) alias(id uint32) bool {
	switch w.kinds[id] {
	case kindTypedef, kindVolatile, kindConst, kindRestrict:
		return true
	}
	return false
}

// canBeNamed reports whether debuggers would find a type by its name in the kernel's file.
func (w *wanting) canBeNamed(id uint32) bool {
	return id < w.first && w.composite(id) && len(w.name(w.record(id).name)) > 0
}

func (w *wanting) addPartsOf(id uint32) {
	switch how := w.want[id]; {
	case w.kinds[id] == kindPtr:
		w.add(w.refs[id], wantName)
	case w.alias(id):
		w.add(w.refs[id], how)
	case how == wantName:
	case w.composite(id), w.kinds[id] == kindFuncProto:
		r := w.record(id)
		for i := range r.parts {
			w.add(w.partType(id, r, i), wantWhole)
		}
		w.add(w.refs[id], wantWhole)
	default:
		w.add(w.refs[id], wantWhole)
	}
}
