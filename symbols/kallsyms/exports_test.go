package kallsyms

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/symbols"
)

// exportImage is memory with a table of exported symbols: as many functions as are asked for, with
// data between them.
type exportImage struct {
	base      uint64
	data      []byte
	functions []symbols.Symbol
	want      []symbols.Symbol
}

// newExportImage makes the memory. The names follow the table, as in a kernel.
func newExportImage(functions int) *exportImage {
	const before, text = 64, 0xffffffff81000000
	m := &exportImage{base: 0xffffffff82000000}
	var all []symbols.Symbol
	for i := range functions {
		f := symbols.Symbol{Name: fmt.Sprintf("function_%d", i), Addr: text + uint64(i)*16}
		m.functions = append(m.functions, f)
		all = append(all, f)
		if i%3 == 0 {
			d := symbols.Symbol{Name: fmt.Sprintf("data_%d", i), Addr: m.base + 0x100000 + uint64(i)*8}
			all, m.want = append(all, d), append(m.want, d)
		}
	}
	perCPU := symbols.Symbol{Name: "per_cpu", Addr: 0x1c000}
	all, m.want = append(all, perCPU), append(m.want, perCPU)
	m.data = make([]byte, before+len(all)*exportSize+4)
	for i, s := range all {
		at := before + i*exportSize
		binary.LittleEndian.PutUint32(m.data[at:], uint32(s.Addr-(m.base+uint64(at))))
		binary.LittleEndian.PutUint32(m.data[at+exportName:], uint32(len(m.data)-at-exportName))
		m.data = append(m.data, s.Name+"\x00"...)
	}
	return m
}

func (m *exportImage) find() []symbols.Symbol {
	valid := func(addr uint64) bool { return addr >= 0xffffffff80000000 || addr < 1<<24 }
	return FindExports(m.base, m.data, m.functions, valid)
}

func TestFindExports(t *testing.T) {
	m := newExportImage(40)
	if diff := cmp.Diff(m.want, m.find()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFindExportsRefusesFewFunctions(t *testing.T) {
	if found := newExportImage(minExports - 1).find(); found != nil {
		t.Errorf("got %+v", found)
	}
}

// TestFindExportsDropsContradiction moves one function in kallsyms: its entry is not trusted, all
// others are.
func TestFindExportsDropsContradiction(t *testing.T) {
	m := newExportImage(40)
	m.functions[20].Addr++
	if diff := cmp.Diff(m.want, m.find()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFindExportsOfSharedName gives a function of the table a namesake elsewhere.
func TestFindExportsOfSharedName(t *testing.T) {
	m := newExportImage(40)
	m.functions = append([]symbols.Symbol{{Name: "function_20", Addr: 0xffffffff81000008}}, m.functions...)
	if diff := cmp.Diff(m.want, m.find()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzFindExports(f *testing.F) {
	m := newExportImage(20)
	f.Add(m.data)
	f.Add(m.data[:len(m.data)-3])
	f.Fuzz(func(t *testing.T, data []byte) {
		m.data = data
		if found := m.find(); len(found) > len(data)/exportSize {
			t.Errorf("%d symbols in %d bytes", len(found), len(data))
		}
	})
}
