package target

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/mmu"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// What a rig has mapped, by the options that it is made with.
const (
	rigText    = memimage.LinkText + rig.Slide
	rigData    = rigText + 9<<21
	rigDataEnd = rigData + 1<<21
)

func hole(first, last uint64) gdbstub.Region { return gdbstub.Region{First: first, Last: last} }

// walk asks as lldb does: from 0 on, each time for what follows.
func walk(t *testing.T, s *session, from uint64) []gdbstub.Region {
	t.Helper()
	var all []gdbstub.Region
	for addr := from; len(all) < 10000; {
		r, err := s.Region(ctx, s.first, addr)
		rig.Must(t, err)
		all = append(all, r)
		if r.Last == ^uint64(0) {
			return all
		}
		addr = r.Last + 1
	}
	t.Fatalf("the walk does not end: %+v", all[:10])
	return nil
}

func TestRegions(t *testing.T) {
	for _, levels := range []int{4, 5} {
		for _, o := range []machine.Options{{}, {Vmlinux: "vmlinux"}} {
			r := rig.New(t, levels)
			if o.Vmlinux != "" {
				o.Vmlinux = r.Path("vmlinux")
			}
			s := connect(t, attach(t, r, o))
			want := []gdbstub.Region{
				hole(0, memimage.UserVA-1),
				{First: memimage.UserVA, Last: memimage.HoleVA - 1, Mapped: true, Read: true, Execute: true},
				hole(memimage.HoleVA, 1<<63-1),
				hole(1<<63, rigText-1),
				{First: rigText, Last: rigData - 1, Mapped: true, Read: true, Execute: true},
				{First: rigData, Last: rigDataEnd - 1, Mapped: true, Read: true, Write: true},
				hole(rigDataEnd, ^uint64(0)),
			}
			if diff := cmp.Diff(want, walk(t, s, 0)); diff != "" {
				t.Errorf("%d levels (-want +got):\n%s", levels, diff)
			}
			before := s.m.Memory.Counts()
			walk(t, s, 0)
			if after := s.m.Memory.Counts(); after != before {
				t.Errorf("a second walk reads again: %+v, %+v", before, after)
			}
		}
	}
}

// TestRegionsWithoutTheList answers from what one walk shows, which is cut at the ends of tables,
// and wants the same rights.
func TestRegionsWithoutTheList(t *testing.T) {
	for _, levels := range []int{4, 5} {
		s := connect(t, attach(t, rig.New(t, levels), machine.Options{}))
		for _, half := range []mmu.Range{mmu.Lower, mmu.Upper} {
			s.regionState(regionKey{s.m.Space, half}).tries = maxRegionTries
			s.regionState(regionKey{s.m.Kernel.Space, half}).tries = maxRegionTries
		}
		var mapped []gdbstub.Region
		for _, r := range walk(t, s, 0) {
			if n := len(mapped); n > 0 && goesOn(mapped[n-1], r) {
				mapped[n-1].Last = r.Last
			} else if r.Mapped {
				mapped = append(mapped, r)
			}
		}
		want := []gdbstub.Region{
			{First: memimage.UserVA, Last: memimage.HoleVA - 1, Mapped: true, Read: true, Execute: true},
			{First: rigText, Last: rigData - 1, Mapped: true, Read: true, Execute: true},
			{First: rigData, Last: rigDataEnd - 1, Mapped: true, Read: true, Write: true},
		}
		if diff := cmp.Diff(want, mapped); diff != "" {
			t.Errorf("%d levels (-want +got):\n%s", levels, diff)
		}
	}
}

func TestRegionsFollowTheChosenSpace(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{}))
	walk(t, s, 0)
	rig.Must(t, s.WriteRegister(ctx, 1, "cr3", r.Clock+0x1000))
	for range 2 * maxRegionLists { // each choice is another space
		rig.Must(t, s.setCR3(ctx, r.Clock))
		walk(t, s, 0)
	}
	if len(s.regions) > maxRegionLists {
		t.Errorf("%d lists are kept", len(s.regions))
	}
}

func TestALateListIsTriedAFewTimes(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	late, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	for range maxRegionTries + 2 {
		_, err := s.Region(late, s.first, rigText)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
	}
	state := s.regions[regionKey{s.m.Kernel.Space, mmu.Upper}]
	if state.made || state.tries != maxRegionTries {
		t.Errorf("%d tries, made %v", state.tries, state.made)
	}
	got, err := s.Region(ctx, s.first, rigText)
	rig.Must(t, err)
	want := gdbstub.Region{First: rigText, Last: rigText + 2<<20 - 1, Mapped: true, Read: true, Execute: true}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAreasCutRegions(t *testing.T) {
	areas := []linux.Area{{First: 0x2000, Last: 0x2fff, Name: "a"}, {First: 0x3000, Last: 0x4fff, Name: "b"}}
	var list regionList
	for _, page := range []mmu.Mapping{{VA: 0x1000, Size: 0x5000, Page: 4096}, {VA: 0x6000, Size: 0x1000, PA: bridge.PageSize}} {
		list = list.add(&page, areas)
	}
	want := regionList{
		{First: 0x1000, Last: 0x1fff, Mapped: true, Read: true},
		{First: 0x2000, Last: 0x2fff, Mapped: true, Read: true, Name: "a"},
		{First: 0x3000, Last: 0x4fff, Mapped: true, Read: true, Name: "b"},
		{First: 0x5000, Last: 0x6fff, Mapped: true, Read: true},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
