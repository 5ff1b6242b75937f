package elfsynth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/btf"
)

// headedBTF returns BTF with a header, types and strings.
func headedBTF(types, names []byte) []byte {
	le := binary.LittleEndian
	b := []byte{0x9f, 0xeb, 1, 0}
	for _, v := range []int{24, 0, len(types), len(types), len(names)} {
		b = le.AppendUint32(b, uint32(v))
	}
	return append(append(b, types...), names...)
}

// wideProgram has functions that share one prototype with as many parameters as BTF can have.
func wideProgram(functions int) *Program {
	const params = 1<<16 - 1
	le := binary.LittleEndian
	names, types := []byte{0}, []byte{}
	record := func(name, kind, parts, value int) {
		for _, v := range []int{name, kind<<24 | parts, value} {
			types = le.AppendUint32(types, uint32(v))
		}
	}
	record(0, int(btf.KindInt), 0, 4)
	types = le.AppendUint32(types, 32)
	record(0, int(btf.KindFuncProto), params, 1)
	for range params {
		types = le.AppendUint32(le.AppendUint32(types, 0), 1)
	}
	p := &Program{Name: "wide", Sections: []Section{{Name: ".text", Addr: 0x1000, Size: uint64(16 * functions), Exec: true}}}
	for i := range functions {
		name := fmt.Sprintf("f%d", i)
		record(len(names), int(btf.KindFunc), 0, 2)
		names = append(append(names, name...), 0)
		p.Symbols = append(p.Symbols, symbols.Symbol{Name: name, Addr: 0x1000 + uint64(16*i), Size: 16, Func: true})
	}
	p.BTF = symbols.Blob{Data: headedBTF(types, names)}
	return p
}

func TestBuildBoundsDebugInformation(t *testing.T) {
	p := wideProgram(2000)
	data, missing, _ := Build(t.Context(), p)
	if len(data) > maxDebugInfo || !strings.Contains(errors.Join(missing...).Error(), "more than") {
		t.Errorf("%d bytes, missing: %v", len(data), missing)
	}
	if data, missing, _ = Build(t.Context(), wideProgram(20)); len(data) < 20*65535 || strings.Contains(errors.Join(missing...).Error(), "more than") {
		t.Errorf("of what fits: %d bytes, missing: %v", len(data), missing)
	}
}

func TestBuildBoundsNames(t *testing.T) {
	const size = 1000
	p := &Program{Name: "names", Sections: []Section{{Name: ".text", Addr: 0x1000, Size: 1 << 20, Exec: true}}}
	long := strings.Repeat("n", size)
	for i := range maxStrtab/size + 1000 {
		p.Symbols = append(p.Symbols, symbols.Symbol{Name: fmt.Sprintf("%s%d", long, i), Addr: 0x1000 + uint64(i), Func: true})
	}
	data, missing, _ := Build(t.Context(), p)
	if len(data) > 2*maxStrtab || !strings.Contains(errors.Join(missing...).Error(), "their names need more than") {
		t.Errorf("%d bytes, missing: %v", len(data), missing)
	}
	for i := range p.Symbols {
		p.Symbols[i].Name = long
	}
	if data, _, _ = Build(t.Context(), p); len(data) > 40*len(p.Symbols)+1<<20 {
		t.Errorf("%d bytes for %d symbols of one name", len(data), len(p.Symbols))
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if data, _, err := Build(ctx, wideProgram(10)); data != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
