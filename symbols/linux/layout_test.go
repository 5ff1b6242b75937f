package linux

import (
	"strings"
	"testing"

	"physgdb/symbols"
)

func TestLayoutFindsMembersByTheNamesThatKernelsGaveThem(t *testing.T) {
	types := fakeTypes{}
	types.define("thing", "pad", 200, "state", 4, "far", 800, "comm", 16, "list", 24)
	var m struct {
		State   member `c:"__state|state"`
		Missing member `c:"?gone"`
		Comm    member `c:"comm" max:"16"`
		List    member `c:"list" max:"24"`
		note    string
	}
	l, err := newLayout(types, "thing", &m)
	if err != nil {
		t.Fatal(err)
	}
	if m.note != "" || m.Missing.known || !m.State.known || m.State.Offset != 200 {
		t.Errorf("members: %+v", m)
	}
	if len(l.extents) != 2 || l.packed > 4+8+16+24 {
		t.Errorf("%d bytes in %v; want two extents without what lies between", l.packed, l.extents)
	}
	w := newWorld(t, nil, nil)
	a, b := w.alloc("", l.size), w.alloc("", l.size)
	for i, addr := range []uint64{a, b} {
		w.put(addr+200, uint64(7+i))
		copy(w.RAM[addr+1008-base:], "name\x00junk")
		w.put(addr+1024, 1, 2, 3)
	}
	records, err := l.read(ctx, w.Space, []uint64{a, 0x1234, b})
	if err != nil {
		t.Fatal(err)
	}
	if records[0].err != nil || records[2].err != nil || records[1].err == nil {
		t.Errorf("errors: %v, %v, %v", records[0].err, records[1].err, records[2].err)
	}
	r := records[2]
	if m.State.uint(r) != 8 || m.Comm.text(r) != "name" || m.List.element(r, 2) != 3 || m.List.element(r, 3) != 0 ||
		m.List.element(r, -1) != 0 || m.Missing.uint(r) != 0 || m.Missing.bytes(r) != nil {
		t.Errorf("state %d, comm %q, list %x", m.State.uint(r), m.Comm.text(r), m.List.bytes(r))
	}
}

func TestLayoutNeedsWhatIsNotOptional(t *testing.T) {
	types := fakeTypes{}
	types.define("thing", "a")
	var m struct {
		B member `c:"b|c"`
	}
	_, err := newLayout(types, "thing", &m)
	isErr(t, err, symbols.ErrNoMember)
	_, err = newLayout(types, "other", &m)
	isErr(t, err, symbols.ErrNoType)
}

func TestLayoutReadsNoMoreOfAMemberThanItCanHave(t *testing.T) {
	const huge = 60_000
	types := fakeTypes{"thing": {Size: 4 * huge}, "thing.nr": {Size: huge, Elem: 1}, "thing.comm": {Offset: huge, Size: huge, Elem: 1},
		"thing.slots": {Offset: 2 * huge, Size: huge, Elem: 8}}
	var m struct {
		NR    member `c:"nr"`
		Comm  member `c:"comm" max:"16"`
		Slots member `c:"slots" max:"512"`
	}
	l, err := newLayout(types, "thing", &m)
	if err != nil {
		t.Fatal(err)
	}
	if l.packed != maxMember+16+512 || m.Slots.count() != 64 {
		t.Errorf("%d bytes, %d slots", l.packed, m.Slots.count())
	}
}

func TestLayoutRefusesMonsters(t *testing.T) {
	types := fakeTypes{"thing": {Size: 1 << 40}, "thing.a": {Offset: 0, Size: 1 << 40, Elem: 8}}
	var m struct {
		A member `c:"a"`
	}
	if _, err := newLayout(types, "thing", &m); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}
