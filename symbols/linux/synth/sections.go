package synth

import (
	"cmp"
	"fmt"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// imageSection is a part of the kernel's image that two symbols bound
// (arch/x86/kernel/vmlinux.lds.S).
type imageSection struct {
	name, start, stop string
	write, exec       bool
}

var imageSections = []imageSection{
	{name: ".text", start: "_text", stop: "_etext", exec: true},
	{name: ".rodata", start: "__start_rodata", stop: "__start_notes"},
	{name: ".notes", start: "__start_notes", stop: "__stop_notes"},
	{name: ".data", start: "_sdata", stop: "_edata", write: true},
	{name: ".data..percpu", start: "__per_cpu_start", stop: "__per_cpu_end", write: true},
	{name: ".init.text", start: "_sinittext", stop: "_einittext", exec: true},
	{name: ".bss", start: "__bss_start", stop: "__bss_stop", write: true},
	{name: ".brk", start: "__brk_base", stop: "__brk_limit", write: true},
}

// kernelSections returns the parts of the kernel's image, in the order of their addresses, without
// gaps between the first and the last: every symbol of the image lies in one.
func kernelSections(names *symbols.Table) []elfsynth.Section {
	var found []elfsynth.Section
	for _, s := range imageSections {
		start, ok1 := names.Lookup(s.start)
		stop, ok2 := names.Lookup(s.stop)
		if ok1 && ok2 && start.Addr < stop.Addr {
			if start.Addr < linux.ImageBase {
				continue // per-CPU variables are offsets: no address is that of one
			}
			found = append(found, elfsynth.Section{
				Name: s.name, Addr: start.Addr, Size: stop.Addr - start.Addr, Write: s.write, Exec: s.exec,
			})
		}
	}
	found = append(found, elfsynth.Section{Name: ".nothing", Size: 1, PerCPU: true})
	slices.SortFunc(found, func(a, b elfsynth.Section) int { return cmp.Compare(a.Addr, b.Addr) })
	var all []elfsynth.Section
	gaps := 0
	for _, s := range found {
		if len(all) > 0 && !all[len(all)-1].PerCPU {
			last := &all[len(all)-1]
			switch end := last.Addr + last.Size; {
			case s.Addr < end:
				continue // damaged: they overlap
			case s.Addr > end && gapHasSymbols(names, end, s.Addr):
				gaps++ // lldb takes sections of one name for one section
				name := fmt.Sprintf(".data.%d", gaps)
				all = append(all, elfsynth.Section{Name: name, Addr: end, Size: s.Addr - end, Write: true})
			}
		}
		all = append(all, s)
	}
	return all
}

func gapHasSymbols(names *symbols.Table, from, to uint64) bool {
	next := names.Next(from - 1)
	return next != 0 && next < to
}
