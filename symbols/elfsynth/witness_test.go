package elfsynth

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// facts are what debug information says, as text, for comparing. Something may have several
// definitions: each is kept, unless an equal one is expected and was found.
type facts struct {
	types     map[string][]string // "struct page": its layout
	funcs     map[string][]string // its parameters and result
	addresses map[string][]uint64 // of functions
	vars      map[string][]string // their types
	places    map[string][]uint64 // of variables
}

type factReader struct {
	data   *dwarf.Data
	expect *facts // nil: everything is wanted
	facts
	spelled map[dwarf.Offset]string
}

// readFacts reads the debug information of a file at the level of its units. Of what is not in
// expect nothing is kept.
func readFacts(t testing.TB, path string, expect *facts) *facts {
	t.Helper()
	f := open(t, path)
	section := func(name string) []byte {
		s := f.Section(name)
		if s == nil {
			return nil
		}
		b, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data, err := dwarf.New(section(".debug_abbrev"), nil, nil, section(".debug_info"), nil, nil, nil, section(".debug_str"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".debug_line_str", ".debug_str_offsets", ".debug_addr", ".debug_rnglists"} {
		if b := section(name); b != nil {
			if err := data.AddSection(name, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := &factReader{data: data, expect: expect, spelled: map[dwarf.Offset]string{}, facts: facts{
		map[string][]string{}, map[string][]string{}, map[string][]uint64{}, map[string][]string{}, map[string][]uint64{},
	}}
	if err := r.read(); err != nil {
		t.Fatal(err)
	}
	return &r.facts
}

func (r *factReader) read() error {
	in := r.data.Reader()
	for {
		e, err := in.Next()
		if err != nil || e == nil {
			return err
		}
		switch e.Tag {
		case dwarf.TagCompileUnit, 0:
			continue
		case dwarf.TagStructType, dwarf.TagUnionType, dwarf.TagEnumerationType:
			r.addType(e)
		case dwarf.TagBaseType:
			r.addBase(e)
		case dwarf.TagTypedef:
			r.addTypedef(e)
		case dwarf.TagSubprogram:
			r.addFunc(e)
		case dwarf.TagVariable:
			r.addVar(e)
		}
		in.SkipChildren()
	}
}

func name(e *dwarf.Entry) string { s, _ := e.Val(dwarf.AttrName).(string); return s }

func number(e *dwarf.Entry, a dwarf.Attr) int64 { n, _ := e.Val(a).(int64); return n }

// wanted reports whether something has to be looked at: not all that is expected of it has been
// found.
func (r *factReader) wanted(key string, have, expected map[string][]string) bool {
	if r.expect == nil {
		return true
	}
	return slices.ContainsFunc(expected[key], func(e string) bool { return !slices.Contains(have[key], e) })
}

func (r *factReader) expected() *facts {
	if r.expect == nil {
		return &facts{}
	}
	return r.expect
}

func keep(in map[string][]string, key, value string) {
	if !slices.Contains(in[key], value) {
		in[key] = append(in[key], value)
	}
}

func (r *factReader) addType(e *dwarf.Entry) {
	if name(e) == "" || e.Val(dwarf.AttrDeclaration) != nil {
		return
	}
	key := tagWord(e.Tag) + name(e)
	if r.wanted(key, r.types, r.expected().types) {
		keep(r.types, key, r.layout(e))
	}
}

func (r *factReader) addBase(e *dwarf.Entry) {
	keep(r.types, name(e), fmt.Sprintf("%d bytes, encoding %d", number(e, dwarf.AttrByteSize), number(e, dwarf.AttrEncoding)))
}

func (r *factReader) addTypedef(e *dwarf.Entry) {
	key := "typedef " + name(e)
	if r.wanted(key, r.types, r.expected().types) {
		keep(r.types, key, r.spellRef(e))
	}
}

func tagWord(t dwarf.Tag) string {
	switch t {
	case dwarf.TagStructType:
		return "struct "
	case dwarf.TagUnionType:
		return "union "
	case dwarf.TagEnumerationType:
		return "enum "
	}
	return ""
}

// layout spells a struct, union or enumeration with all that is in it.
func (r *factReader) layout(e *dwarf.Entry) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s%d{", tagWord(e.Tag), number(e, dwarf.AttrByteSize))
	for _, c := range r.children(e) {
		switch c.Tag {
		case dwarf.TagEnumerator:
			fmt.Fprintf(&s, "%s=%d,", name(c), number(c, dwarf.AttrConstValue))
		case dwarf.TagMember:
			bit := number(c, dwarf.AttrDataMemberLoc)*8 + number(c, dwarf.AttrDataBitOffset)
			fmt.Fprintf(&s, "%s %s@%d:%d;", r.spellRef(c), name(c), bit, number(c, dwarf.AttrBitSize))
		}
	}
	return s.String() + "}"
}

func (r *factReader) children(e *dwarf.Entry) (all []*dwarf.Entry) {
	if !e.Children {
		return nil
	}
	in := r.data.Reader()
	in.Seek(e.Offset)
	_, _ = in.Next()
	for {
		c, err := in.Next()
		if err != nil || c == nil || c.Tag == 0 {
			return all
		}
		all = append(all, c)
		in.SkipChildren()
	}
}

func (r *factReader) spellRef(e *dwarf.Entry) string {
	off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok {
		return "void"
	}
	if s, ok := r.spelled[off]; ok {
		return s
	}
	in := r.data.Reader()
	in.Seek(off)
	to, err := in.Next()
	if err != nil {
		return err.Error()
	}
	s := r.spell(to)
	r.spelled[off] = s
	return s
}

// spell names a type; what has no name is spelled with all that is in it.
func (r *factReader) spell(e *dwarf.Entry) string {
	switch e.Tag {
	case dwarf.TagPointerType:
		return "*" + r.spellRef(e)
	case dwarf.TagConstType:
		return "const " + r.spellRef(e)
	case dwarf.TagVolatileType:
		return "volatile " + r.spellRef(e)
	case dwarf.TagRestrictType:
		return "restrict " + r.spellRef(e)
	case dwarf.TagArrayType:
		elements := int64(1) // pahole makes of several dimensions one
		for _, c := range r.children(e) {
			n := number(c, dwarf.AttrCount)
			if last, ok := c.Val(dwarf.AttrUpperBound).(int64); ok {
				n = last + 1
			}
			elements *= n
		}
		return fmt.Sprintf("[%d]%s", elements, r.spellRef(e))
	case dwarf.TagSubroutineType:
		return "fn(" + r.params(e) + ")" + r.spellRef(e)
	}
	if e.Tag == dwarf.TagUnspecifiedType { // what the assembler says that its functions return
		return "void"
	}
	if name(e) == "" {
		return r.layout(e)
	}
	return tagWord(e.Tag) + name(e)
}

func (r *factReader) params(e *dwarf.Entry) string {
	var all []string
	for _, c := range r.children(e) {
		switch c.Tag {
		case dwarf.TagFormalParameter:
			all = append(all, r.spellRef(c))
		case dwarf.TagUnspecifiedParameters:
			all = append(all, "...")
		}
	}
	return strings.Join(all, ",")
}

func (r *factReader) addFunc(e *dwarf.Entry) {
	ranges, err := r.data.Ranges(e)
	for name(e) == "" {
		off, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if off, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				return
			}
		}
		in := r.data.Reader()
		in.Seek(off)
		if e, err = in.Next(); err != nil {
			return
		}
	}
	if r.expect != nil && len(r.expect.funcs[name(e)]) == 0 {
		return
	}
	if err == nil && len(ranges) > 0 {
		r.addresses[name(e)] = append(r.addresses[name(e)], ranges[0][0])
	}
	if r.wanted(name(e), r.funcs, r.expected().funcs) {
		keep(r.funcs, name(e), "("+r.params(e)+")"+r.spellRef(e))
	}
}

func (r *factReader) addVar(e *dwarf.Entry) {
	place, _ := e.Val(dwarf.AttrLocation).([]byte)
	if off, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset); ok {
		in := r.data.Reader()
		in.Seek(off)
		e, _ = in.Next()
	}
	if r.expect != nil && len(r.expect.vars[name(e)]) == 0 {
		return
	}
	keep(r.vars, name(e), r.spellRef(e))
	if len(place) == 9 && place[0] == 3 {
		r.places[name(e)] = append(r.places[name(e)], binary.LittleEndian.Uint64(place[1:]))
	}
}

// TestTypesAreThoseOfTheCompiler compares all types, prototypes and variables, and where they are,
// with the DWARF of the same kernel. Of several definitions that the compiler has under one name,
// one must be equal.
func TestTypesAreThoseOfTheCompiler(t *testing.T) {
	t.Parallel()
	onKernels(t, func(t *testing.T, vmlinux string) {
		ours := readFacts(t, built(t, kernelProgram(t, vmlinux)), nil)
		theirs := readFacts(t, vmlinux, ours)
		compare(t, "types", ours.types, theirs.types)
		compare(t, "functions", ours.funcs, theirs.funcs)
		compare(t, "variables", unqualified(ours.vars), unqualified(theirs.vars))
		compareAddresses(t, "functions", ours.addresses, theirs.addresses)
		compareAddresses(t, "variables", ours.places, theirs.places)
	})
}

func compare(t *testing.T, what string, ours, theirs map[string][]string) {
	t.Helper()
	equal, absent, shown := 0, 0, 0
	for key, values := range ours {
		for _, v := range values {
			switch {
			case len(theirs[key]) == 0:
				absent++
			case slices.Contains(theirs[key], v):
				equal++
			default:
				if shown++; shown <= 100 {
					t.Errorf("%s:\n%s\nbut the compiler says\n%s", key, v, strings.Join(theirs[key], "\n"))
				}
			}
		}
	}
	t.Logf("%s: %d equal, %d differ, %d not in the compiler's", what, equal, shown, absent)
}

func compareAddresses(t *testing.T, what string, ours, theirs map[string][]uint64) {
	t.Helper()
	equal, absent, shown := 0, 0, 0
	for key, at := range ours {
		switch {
		case len(theirs[key]) == 0:
			absent++
		case slices.Contains(theirs[key], at[0]):
			equal++
		default:
			if shown++; shown <= 100 {
				t.Errorf("%s at %#x, the compiler says %#x", key, at[0], theirs[key])
			}
		}
	}
	t.Logf("addresses of %s: %d equal, %d differ, %d not in the compiler's", what, equal, shown, absent)
}

// unqualified leaves out of the types of variables what KernelGlobals leaves out too: qualifiers
// and lengths. On 6.1 node_data has its type by a typedef.
func unqualified(vars map[string][]string) map[string][]string {
	lengths := regexp.MustCompile(`\[\d+\]`)
	words := strings.NewReplacer("const ", "", "volatile ", "", "pg_data_t", "struct pglist_data")
	all := map[string][]string{}
	for name, types := range vars {
		for _, typ := range types {
			all[name] = append(all[name], words.Replace(lengths.ReplaceAllString(typ, "[]")))
		}
	}
	return all
}
