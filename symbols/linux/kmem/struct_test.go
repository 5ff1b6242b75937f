package kmem

import (
	"context"
	"errors"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/test/kmemtest"
)

const base = kmemtest.Base

var ctx = context.Background()

func isErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || (got == nil) != (want == nil) {
		t.Errorf("error %v, want %v", got, want)
	}
}

func TestStructFindsMembersByAlternativeNames(t *testing.T) {
	w := kmemtest.New(t)
	w.Structs.Define("thing", "pad", 200, "state", 4, "far", 800, "comm", 16, "list", 24)
	type thing struct {
		State   int      `c:"__state|state"`
		Missing uint64   `c:"?gone"`
		Bytes   []byte   `c:"?lost" max:"8"`
		Comm    string   `c:"comm" max:"16"`
		List    []uint64 `c:"list" max:"24"`
		Far     struct{} `c:"far"`
	}
	s, err := NewStruct[thing](w.Structs, "thing")
	if err != nil {
		t.Fatal(err)
	}
	if s.Has("Missing") || !s.Has("State") || s.Offset("State") != 200 || s.Offset("Far") != 208 || s.Size() != 1048 {
		t.Errorf("members: %+v", s.members)
	}
	if len(s.extents) != 2 || s.packed > 4+8+16+24 {
		t.Errorf("%d bytes in %v; want two extents without the gap between them", s.packed, s.extents)
	}
	a, b := w.Alloc("thing", 0), w.Alloc("thing", 0)
	for i, addr := range []uint64{a, b} {
		w.Put(addr+200, uint64(0xffff_ffff-i))
		copy(w.RAM[addr+1008-base:], "name\x00junk")
		w.Put(addr+1024, 1, 2, 3)
	}
	values, errs, err := s.Read(ctx, w.Virtual, []uint64{a, 0x1234, b})
	if err != nil {
		t.Fatal(err)
	}
	if errs[0] != nil || errs[2] != nil || errs[1] == nil {
		t.Errorf("errors: %v", errs)
	}
	v := values[2]
	if v.State != -2 || v.Comm != "name" || len(v.List) != 3 || v.List[2] != 3 || v.Missing != 0 || v.Bytes != nil {
		t.Errorf("%+v", v)
	}
	if whole := s.Decode(w.RAM[b-base:][:1048]); whole.State != -2 || whole.List[2] != 3 {
		t.Errorf("decoded: %+v", whole)
	}
	if short := s.Decode(w.RAM[b-base:][:300]); short.State != -2 || short.List[2] != 0 {
		t.Errorf("decoded from 300 bytes: %+v", short)
	}
}

func TestStructRequiresMembersThatAreNotOptional(t *testing.T) {
	types := kmemtest.Structs{}
	types.Define("thing", "a")
	type thing struct {
		B uint64 `c:"b|c"`
	}
	_, err := NewStruct[thing](types, "thing")
	isErr(t, err, symbols.ErrNoMember)
	_, err = NewStruct[thing](types, "other")
	isErr(t, err, symbols.ErrNoType)
}

func TestStructBoundsMembers(t *testing.T) {
	const huge = 60_000
	types := kmemtest.Structs{
		"thing": {Size: 4 * huge}, "thing.nr": {Size: huge, Elem: 1}, "thing.comm": {Offset: huge, Size: huge, Elem: 1},
		"thing.slots": {Offset: 2 * huge, Size: huge, Elem: 8},
	}
	type thing struct {
		NR    uint64   `c:"nr"`
		Comm  string   `c:"comm" max:"16"`
		Slots []uint64 `c:"slots" max:"512"`
	}
	s, err := NewStruct[thing](types, "thing")
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Decode(nil); s.packed != maxNumber+16+512 || len(v.Slots) != 64 {
		t.Errorf("%d bytes, %d slots", s.packed, len(v.Slots))
	}
}

func TestStructRefusesHugeMembers(t *testing.T) {
	types := kmemtest.Structs{"thing": {Size: 1 << 40}, "thing.a": {Offset: 0, Size: 1 << 40, Elem: 8}}
	type thing struct {
		A uint64 `c:"a"`
	}
	if _, err := NewStruct[thing](types, "thing"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}

func TestReadEachReadsInBatches(t *testing.T) {
	w := kmemtest.New(t)
	w.Structs.Define("thing", "a")
	type thing struct {
		A uint64 `c:"a"`
	}
	s, err := NewStruct[thing](w.Structs, "thing")
	if err != nil {
		t.Fatal(err)
	}
	at := w.Alloc("thing", 0)
	w.Put(at, 7)
	addrs := make([]uint64, maxBatch+1)
	for i := range addrs {
		addrs[i] = at
	}
	if _, err := s.ReadOne(ctx, w.Virtual, at); err != nil { // caches the page tables
		t.Fatal(err)
	}
	before, visits := w.Fake.Counts().Batches, 0
	err = s.ReadEach(ctx, w.Virtual, addrs, func(i int, v *thing, err error) error {
		if i != visits || v.A != 7 || err != nil {
			t.Fatalf("visit %d: index %d, %+v, %v", visits, i, v, err)
		}
		visits++
		return nil
	})
	if batches := w.Fake.Counts().Batches - before; err != nil || visits != len(addrs) || batches != 2 {
		t.Errorf("%d visits in %d batches, %v", visits, batches, err)
	}
}
