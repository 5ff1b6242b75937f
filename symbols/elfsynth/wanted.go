package elfsynth

import "physgdb/symbols/btf"

// want is how much of a kernel type a module's file must contain. Debuggers find the rest in the
// kernel's file.
type want uint8

const (
	wantNone want = iota
	wantName
	wantWhole
)

// wanted returns what is wanted of each type: of a kernel nil, for everything; of a module all its
// own types, and of the kernel's those that they are made of. Of a struct that they only point to
// the name is enough.
func wanted(t *btf.Types) []want {
	if t.First() == 1 {
		return nil
	}
	w := wanting{t, make([]want, t.Count()), nil}
	for id := t.First(); id < t.Count(); id++ {
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
	*btf.Types
	want []want
	todo []uint32 // whose parts are to be added
}

// add adds a type. To want the name of a typedef or a qualifier is to want the name of the type it
// refers to.
func (w *wanting) add(id uint32, how want) {
	id = w.Untagged(id)
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
	switch w.Kind(id) {
	case btf.KindTypedef, btf.KindVolatile, btf.KindConst, btf.KindRestrict:
		return true
	}
	return false
}

// canBeNamed reports whether debuggers would find a type by its name in the kernel's file.
func (w *wanting) canBeNamed(id uint32) bool {
	return id < w.First() && w.Composite(id) && len(w.Name(w.Record(id).Name)) > 0
}

func (w *wanting) addPartsOf(id uint32) {
	switch how := w.want[id]; {
	case w.Kind(id) == btf.KindPtr:
		w.add(w.Ref(id), wantName)
	case w.alias(id):
		w.add(w.Ref(id), how)
	case how == wantName:
	case w.Composite(id), w.Kind(id) == btf.KindFuncProto:
		r := w.Record(id)
		for i := range r.Parts {
			w.add(w.PartType(id, r, i), wantWhole)
		}
		w.add(w.Ref(id), wantWhole)
	default:
		w.add(w.Ref(id), wantWhole)
	}
}
