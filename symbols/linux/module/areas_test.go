package module

import (
	"slices"
	"strings"
	"testing"

	"physgdb/symbols/linux"

	"github.com/google/go-cmp/cmp"
)

// areaWorld is a kernel with an image, variables for where its areas are, and a module.
func areaWorld(t *testing.T, before6_4 bool) *moduleWorld {
	w := newModuleWorld(t, before6_4)
	const image = 0xffffffff90000000
	syms := map[string]uint64{
		"modules": w.head, "page_offset_base": base + 1<<20 + 0x100, "vmalloc_base": base + 1<<20 + 0x108,
		"vmemmap_base": base + 1<<20 + 0x110,
		"_text":        image, "_etext": image + 0x1234, "__start_rodata": image + 0x200000, "__end_rodata": image + 0x201000,
		"_sdata": image + 0x400000, "_edata": image + 0x3ff000, "__bss_start": image + 0x1000, "__bss_stop": image + 0x3000,
	}
	w.Symbols = newWorld(t, syms).Symbols
	w.Put(base+1<<20+0x100, 0xffff8c8180000000, 0xffffcd14c0000000, 0xffffea0123000000)
	w.load("trouble")
	return w
}

func named(areas []linux.Area, name string) linux.Area {
	i := slices.IndexFunc(areas, func(a linux.Area) bool { return a.Name == name })
	if i < 0 {
		return linux.Area{}
	}
	return areas[i]
}

func TestAreas(t *testing.T) {
	w := areaWorld(t, false)
	text := w.memory("trouble", 0x1800, 0x2000)
	areas, err := w.Areas(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(areas); i++ {
		if areas[i].First <= areas[i-1].Last {
			t.Errorf("%+v lies over %+v", areas[i], areas[i-1])
		}
	}
	for _, want := range []linux.Area{
		{First: 0xffff8c8180000000, Last: 0xffffcd14bfffffff, Name: "direct map"},
		{First: 0xffffcd14c0000000, Last: 0xffffea0122ffffff, Name: "vmalloc"},
		{First: 0xffffea0123000000, Last: 0xffffeb0122ffffff, Name: "vmemmap"},
		{First: 0xffffffff90000000, Last: 0xffffffff90001fff, Name: "kernel .text"},
		{First: 0xffffffff90200000, Last: 0xffffffff90200fff, Name: "kernel .rodata"},
		{First: 0xffffffffff600000, Last: 0xffffffffff600fff, Name: "vsyscall"},
	} {
		if got := named(areas, want.Name); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if m := named(areas, "trouble .text"); m.First != text&^0xfff {
		t.Errorf("the module's text is at %#x: %+v", text, m)
	}
	for _, name := range []string{"kernel .data", "kernel .bss"} { // one ends before it begins, one begins within .text
		if got := named(areas, name); got != (linux.Area{}) {
			t.Errorf("an impossible area is listed: %+v", got)
		}
	}
}

func TestAreasOfModules(t *testing.T) {
	for _, tc := range []struct {
		before6_4 bool
		want      []string
	}{{true, []string{"trouble .text", "trouble"}}, {false, []string{"trouble .text", "trouble"}}} {
		w := areaWorld(t, tc.before6_4)
		w.memory("trouble", 0x1800, 0x2000)
		areas, err := w.Code.Areas(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range areas {
			got = append(got, a.Name)
			if a.First&0xfff != 0 || a.Last&0xfff != 0xfff {
				t.Errorf("%+v does not end with its pages", a)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("before 6.4 %v (-want +got):\n%s", tc.before6_4, diff)
		}
	}
}

func TestAreasDamaged(t *testing.T) {
	for name, bases := range map[string][]uint64{
		"user space":    {0x1000, 0xffffcd14c0000000, 0xffffea0123000000},
		"out of order":  {0xffffcd14c0000000, 0xffff8c8180000000, 0xffffea0123000000},
		"too high":      {0xffff8c8180000000, 0xffffcd14c0000000, 0xffffffff90000000},
		"nothing there": {0, 0, 0},
	} {
		w := areaWorld(t, false)
		w.Put(base+1<<20+0x100, bases...)
		areas, err := w.Areas(ctx)
		if err == nil || !strings.Contains(err.Error(), "make no sense") {
			t.Errorf("%s: error %v", name, err)
		}
		if got := named(areas, "direct map"); got != (linux.Area{}) {
			t.Errorf("%s: %+v", name, got)
		}
		if got := named(areas, "kernel .text"); got == (linux.Area{}) {
			t.Errorf("%s: the others are missing, too", name)
		}
	}
	w := areaWorld(t, false)
	w.Put(w.head, 8, 8)
	areas, err := w.Areas(ctx)
	if got := named(areas, "vmalloc"); got == (linux.Area{}) {
		t.Errorf("without modules there are no areas at all: %v", err)
	}
}
