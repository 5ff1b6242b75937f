package elfsynth

import (
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/btf"
)

// maxBTFName and maxBTFDepth are the bounds of package btf for names, in bytes, and for how deep
// types are nested.
const maxBTFName, maxBTFDepth = 512, 200

// rawBTF makes a section .BTF of records and strings.
func rawBTF(strings string, records ...[]uint32) []byte {
	le := binary.LittleEndian
	var body []byte
	for _, r := range records {
		for _, word := range r {
			body = le.AppendUint32(body, word)
		}
	}
	b := []byte{0x9f, 0xeb, 1, 0}
	for _, word := range []int{24, 0, len(body), len(body), len(strings)} {
		b = le.AppendUint32(b, uint32(word))
	}
	return append(append(b, body...), strings...)
}

func info(k btf.Kind, parts int) uint32 { return uint32(k)<<24 | uint32(parts) }

// damaged are types that no compiler makes.
var damaged = map[string][]byte{
	"nothing":             rawBTF("\x00"),
	"a struct in itself":  rawBTF("\x00s\x00", []uint32{1, info(btf.KindStruct, 1), 8, 1, 1, 0}),
	"structs in a circle": rawBTF("\x00s\x00", []uint32{1, info(btf.KindStruct, 1), 8, 1, 2, 0}, []uint32{1, info(btf.KindStruct, 1), 8, 1, 1, 0}),
	"a struct in its own array": rawBTF("\x00s\x00", []uint32{1, info(btf.KindStruct, 1), 8, 1, 2, 0},
		[]uint32{0, info(btf.KindArray, 0), 0, 1, 3, 2}, []uint32{1, info(btf.KindInt, 0), 4, 32}),
	"a typedef of itself":    rawBTF("\x00s\x00", []uint32{1, info(btf.KindTypedef, 0), 1}),
	"a pointer to itself":    rawBTF("\x00s\x00", []uint32{0, info(btf.KindPtr, 0), 1}),
	"a tag of a tag":         rawBTF("\x00s\x00", []uint32{1, info(btf.KindTypeTag, 0), 2}, []uint32{1, info(btf.KindTypeTag, 0), 1}),
	"an array of itself":     rawBTF("\x00s\x00", []uint32{0, info(btf.KindArray, 0), 0, 1, 1, 9}),
	"a function of itself":   rawBTF("\x00s\x00", []uint32{0, info(btf.KindFuncProto, 1), 0, 1, 1}),
	"a result of itself":     rawBTF("\x00s\x00", []uint32{0, info(btf.KindFuncProto, 0), 1}),
	"an array beyond reason": rawBTF("\x00s\x00", []uint32{1, info(btf.KindInt, 0), 4, 32}, []uint32{0, info(btf.KindArray, 0), 0, 1, 1, 0xffffffff}, []uint32{0, info(btf.KindArray, 0), 0, 2, 1, 0xffffffff}),
	"arrays whose size wraps": rawBTF("\x00s\x00", append([][]uint32{{1, info(btf.KindStruct, 1), 8, 1, 10, 0}, {1, info(btf.KindInt, 0), 4, 32}},
		arrays(8, 0x100)...)...),
	"a wild type":            rawBTF("\x00s\x00", []uint32{0, info(btf.KindPtr, 0), 99}, []uint32{1, info(btf.KindTypedef, 0), 0xffffffff}),
	"a wild name":            rawBTF("\x00s\x00", []uint32{99, info(btf.KindStruct, 0), 8}, []uint32{0xffffffff, info(btf.KindInt, 0), 4, 32}),
	"a member outside":       rawBTF("\x00s\x00", []uint32{1, info(btf.KindStruct, 1), 4, 1, 2, 64}, []uint32{1, info(btf.KindInt, 0), 4, 32}),
	"an unknown kind":        rawBTF("\x00s\x00", []uint32{1, info(btf.KindInt, 0), 4, 32}, []uint32{1, info(31, 0), 4, 32}),
	"a cut record":           rawBTF("\x00s\x00", []uint32{1, info(btf.KindStruct, 9), 4, 32}),
	"an integer of no size":  rawBTF("\x00s\x00", []uint32{1, info(btf.KindInt, 0), 3, 24}, []uint32{1, info(btf.KindFloat, 0), 7}),
	"names of control codes": rawBTF("\x00\x1b[2J\x00", []uint32{1, info(btf.KindInt, 0), 4, 32}),
	"strings without an end": rawBTF("\x00s", []uint32{1, info(btf.KindStruct, 0), 4}),
	"no strings":             rawBTF("", []uint32{1, info(btf.KindStruct, 0), 4}),
	"a tower":                rawBTF("\x00s\x00", tower(1000)...),
}

// arrays are an array of type 2, an array of that, and so on, each of n elements.
func arrays(deep int, n uint32) (records [][]uint32) {
	for i := range deep {
		records = append(records, []uint32{0, info(btf.KindArray, 0), 0, uint32(i + 2), 2, n})
	}
	return records
}

// tower is a pointer to a pointer to a pointer.
func tower(height int) (records [][]uint32) {
	for i := range height {
		records = append(records, []uint32{0, info(btf.KindPtr, 0), uint32(i + 2)})
	}
	return append(records, []uint32{1, info(btf.KindInt, 0), 4, 32})
}

// TestDamagedTypesMakeSoundDWARF follows every reference in the DWARF of damaged types with Go's
// reader, which runs out of stack or time in a loop, as debuggers would.
func TestDamagedTypesMakeSoundDWARF(t *testing.T) {
	for name, raw := range damaged {
		t.Run(name, func(t *testing.T) { checkSound(t, nil, raw) })
	}
}

// TestDebuggersSurviveDamagedTypes has gdb and lldb look at everything in files made of damaged
// types.
func TestDebuggersSurviveDamagedTypes(t *testing.T) {
	dir := t.TempDir()
	gdb := []string{"-nx", "-q", "-batch"}
	var lldb strings.Builder
	for name, raw := range damaged {
		p := small()
		p.BTF.Data = raw
		p.Globals = []Global{{"variable", "struct s"}, {"_edata", "s"}, {"beyond", "int *[][4]"}}
		data, _, _ := Build(t.Context(), p)
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		gdb = append(gdb, "-ex", "file "+path, "-ex", "maint expand-symtabs", "-ex", "info types", "-ex", "ptype struct s",
			"-ex", "p sizeof(struct s)", "-ex", "ptype s", "-ex", "ptype variable", "-ex", "p variable", "-ex", "p &_edata")
		fmt.Fprintf(&lldb, "target create %s\nimage lookup -t s\np variable\np _edata\np sizeof(s)\nimage dump symfile\n", path)
	}
	out := tool(t, "gdb", append(gdb, "-ex", "echo alive\\n")...)
	if !strings.HasSuffix(out, "alive\n") || strings.Contains(out, "internal-error") {
		t.Errorf("gdb: %s", out)
	}
	commands := filepath.Join(dir, "commands")
	if err := os.WriteFile(commands, []byte(lldb.String()+"version\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out = tool(t, "lldb-14", "-b", "-o", "command source -e false "+commands)
	if !strings.Contains(out, "lldb version") {
		t.Errorf("lldb: %s", out)
	}
}

// TestArraysDoNotWrap checks that an array of 2^66 bytes has no size: it would seem to fit
// anywhere.
func TestArraysDoNotWrap(t *testing.T) {
	const maxSize = 1 << 40
	types, err := btf.New(damaged["arrays whose size wraps"])
	if err != nil || types.Damage() != nil {
		t.Fatal(err, types.Damage())
	}
	for id := range types.Count() {
		if size := types.SizeOf(id); size > maxSize {
			t.Errorf("type %d has %d bytes", id, size)
		}
	}
}

// What damage has made one long string would be copied for each type that has its name in it.
func TestNamesThatAreTooLongAreNone(t *testing.T) {
	const size, count = 1 << 16, 1 << 10
	var records [][]uint32
	for i := range uint32(count / 2) {
		records = append(records, []uint32{i + 3, info(btf.KindStruct, 0), 8}, []uint32{0, info(btf.KindEnum, 1), 4, size/2 + i, 0})
	}
	strings := "\x00" + strings.Repeat("x", size) + "\x00"
	for name, base := range map[string][]byte{"a kernel": nil, "a module": rawBTF("\x00s\x00", []uint32{1, info(btf.KindInt, 0), 4, 32})} {
		p := &Program{Name: "x", BTF: symbols.Blob{Data: rawBTF(strings, records...)}, BaseBTF: base}
		data, _, _ := Build(t.Context(), p)
		if most := 4*size + 64*count; len(data) > most {
			t.Errorf("%s: %d bytes, more than %d", name, len(data), most)
		}
		f, err := newELF(data)
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.DWARF()
		if err != nil {
			t.Fatal(err)
		}
		for in := d.Reader(); ; {
			e, err := in.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e == nil {
				break
			}
			if called, _ := e.Val(dwarf.AttrName).(string); len(called) >= maxBTFName {
				t.Fatalf("%s: %v has a name of %d bytes", name, e.Tag, len(called))
			}
		}
	}
}

func TestTypesThatAreNoneAreMissed(t *testing.T) {
	p := small()
	p.BTF.Data = damaged["nothing"]
	_, missing, _ := Build(t.Context(), p)
	if text := errors.Join(missing...).Error(); !strings.Contains(text, "no types: BTF: it has no types") {
		t.Error(text)
	}
}

// checkSound builds the file of a program with these types and reads all of them back.
func checkSound(t *testing.T, base, raw []byte) {
	t.Helper()
	p := &Program{Name: "x", BTF: symbols.Blob{Data: raw}, BaseBTF: base, Sections: []Section{{Name: ".text", Addr: 4096, Size: 4096, Exec: true}}}
	data, _, _ := Build(t.Context(), p)
	f, err := newELF(data)
	if err != nil {
		t.Fatal(err)
	}
	if f.Section(".debug_info") == nil {
		return
	}
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	in := d.Reader()
	w := wellFounded{d, map[dwarf.Offset]int{}}
	for {
		e, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return
		}
		if e.Tag != dwarf.TagCompileUnit {
			w.visit(t, e, 0)
		}
	}
}

// wellFounded follows types to what they are made of, which must come to an end.
type wellFounded struct {
	data    *dwarf.Data
	heights map[dwarf.Offset]int
}

func (w *wellFounded) visit(t *testing.T, e *dwarf.Entry, depth int) {
	if depth > 3*maxBTFDepth {
		t.Fatalf("%v at %#x: nested too deep", e.Tag, e.Offset)
	}
	if off, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok {
		in := w.data.Reader()
		in.Seek(off)
		to, err := in.Next()
		if err != nil || to == nil || to.Tag == 0 || to.Tag == dwarf.TagCompileUnit {
			t.Fatalf("%v at %#x refers to %#x: %v", e.Tag, e.Offset, off, err)
		}
		if byName(e.Tag) && (to.Tag == dwarf.TagStructType || to.Tag == dwarf.TagUnionType) {
			return
		}
		w.enter(t, to, depth)
	}
}

// byName reports whether a type needs no more of what it refers to than a name.
func byName(t dwarf.Tag) bool {
	return t == dwarf.TagPointerType || t == dwarf.TagSubroutineType || t == dwarf.TagFormalParameter
}

func (w *wellFounded) enter(t *testing.T, e *dwarf.Entry, depth int) {
	if _, done := w.heights[e.Offset]; done {
		return
	}
	w.visit(t, e, depth+1)
	if e.Children {
		in := w.data.Reader()
		in.Seek(e.Offset)
		_, _ = in.Next()
		for {
			c, err := in.Next()
			if err != nil || c == nil || c.Tag == 0 {
				break
			}
			w.visit(t, c, depth+1)
			in.SkipChildren()
		}
	}
	w.heights[e.Offset] = depth
}

func FuzzBTF(f *testing.F) {
	for _, raw := range damaged {
		f.Add(raw, []byte(nil))
		f.Add(raw, raw)
	}
	f.Fuzz(func(t *testing.T, raw, base []byte) {
		if len(base) == 0 {
			base = nil
		}
		checkSound(t, base, raw)
	})
}
