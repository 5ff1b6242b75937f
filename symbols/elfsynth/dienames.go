package elfsynth

import (
	"github.com/go-delve/delve/pkg/dwarf/op"

	"physgdb/symbols/btf"
)

// addFuncs writes an entry for each function whose prototype is known for certain: BTF has
// prototypes by name, and many static functions share one. Of functions at one address the first
// alone has one, as debuggers name the address after it.
func (u *debugInfo) addFuncs(n *names, sections []Section) {
	protos := u.prototypes(n)
	inCode := func(i int) bool { return n.sections[i] != none && sections[n.sections[i]].Exec }
	end := ^uint64(0) // where the next function starts
	var funcs []int   // from the last to the first
	for i := len(n.symbols) - 1; i >= 0; i-- {
		s := &n.symbols[i]
		if protos[i] == 0 || !s.Func || n.alias(i) || !inCode(i) || s.Size == 0 {
			continue
		}
		s.Size = min(s.Size, end-s.Addr)
		end = s.Addr
		funcs = append(funcs, i)
	}
	for k := len(funcs) - 1; k >= 0 && !u.full(); k-- {
		s := &n.symbols[funcs[k]]
		u.addFunc(protos[funcs[k]], s.Addr, s.Size, !s.Local)
	}
}

// prototypes returns, by symbol, the function of BTF that is it, or 0.
func (u *debugInfo) prototypes(n *names) []uint32 {
	const several = ^uint32(0)
	protos := make([]uint32, len(n.symbols))
	for id := u.First(); id < u.Count(); id++ {
		if u.Kind(id) != btf.KindFunc || u.Ref(id) == 0 {
			continue
		}
		i, ok := n.only(u.Name(u.Record(id).Name))
		switch {
		case !ok:
		case protos[i] == 0:
			protos[i] = id
		default:
			protos[i] = several
		}
	}
	for i, id := range protos {
		if id == several {
			protos[i] = 0
		}
	}
	return protos
}

func (u *debugInfo) addFunc(id uint32, addr, size uint64, external bool) {
	proto := u.Ref(id)
	r := u.Record(proto)
	result := u.Untagged(u.Ref(proto))
	if result != 0 {
		u.beginWith(r.Parts, abbrevFunc)
	} else {
		u.beginWith(r.Parts, abbrevVoidFunc)
	}
	u.text(u.Record(id).Name)
	u.flag(external)
	u.addr(addr)
	u.addr(size)
	if result != 0 {
		u.ref(result)
	}
	u.addParams(proto, r)
}

// variable is what the second unit has an entry for.
type variable struct {
	name     uint32 // string
	addr     uint64
	external bool
	typ      uint32 // where the entry of its type is
}

// addVars adds the variables of BTF: those of the per-CPU section.
func (u *debugInfo) addVars(n *names) {
	for id := u.First(); id < u.Count() && !u.full(); id++ {
		if u.Kind(id) != btf.KindVar {
			continue
		}
		r := u.Record(id)
		i, ok := n.only(u.Name(r.Name))
		if typ := u.Untagged(u.Ref(id)); ok && typ != 0 {
			s := &n.symbols[i]
			u.vars = append(u.vars, variable{u.strs.of(r.Name), s.Addr, !s.Local, u.entries[typ]})
		}
	}
}

// writeVars writes the unit of the variables. Types are in the other one.
func (u *debugInfo) writeVars() {
	if len(u.vars) == 0 {
		return
	}
	start := u.beginUnit(abbrevUnit)
	for _, v := range u.vars {
		u.begin(abbrevVar)
		u.offset(v.name)
		u.flag(v.external)
		u.offset(v.typ)
		u.uleb(1 + addrSize)
		u.byte(byte(op.DW_OP_addr))
		u.addr(v.addr)
	}
	u.endUnit(start)
}
