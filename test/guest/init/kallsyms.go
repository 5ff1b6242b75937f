package main

import (
	"strconv"
	"strings"
)

// One in sampleEvery of the kernel's 150,000 symbols is reported: all of them would take a minute
// on the serial port.
const sampleEvery = 400

// wanted returns the symbols that are always reported if the kernel has them.
func wanted() []string {
	return strings.Fields(`_text _stext _etext _end linux_banner init_task init_mm init_uts_ns jiffies panic vpanic
		vfs_read modules init_top_pgt phys_base __per_cpu_offset nr_cpu_ids __cpu_online_mask panic_cpu prb
		sysrq_handle_crash entry_SYSCALL_64 iomem_resource page_offset_base vmalloc_base vmemmap_base
		kallsyms_num_syms vmcoreinfo_data saved_command_line`)
}

// sample returns symbols of the kernel itself from /proc/kallsyms, without names that occur twice
// and without per-CPU symbols, which are not addresses.
func sample(kallsyms string) map[string]uint64 {
	found := map[string]uint64{}
	keep := map[string]bool{}
	for _, name := range wanted() {
		keep[name] = true
	}
	count := 0
	for line := range strings.Lines(kallsyms) {
		if name, value, ok := parseSymbol(line); ok {
			if count++; count%sampleEvery == 0 || keep[name] {
				found[name] = value
			}
		}
	}
	for line := range strings.Lines(kallsyms) {
		name, value, ok := parseSymbol(line)
		if first, sampled := found[name]; ok && sampled && first != value {
			delete(found, name)
		}
	}
	return found
}

// parseSymbol parses "ffffffff81000000 T _text"; a line of a module has a fourth field.
func parseSymbol(line string) (name string, value uint64, ok bool) {
	const kernelBase = 0xffffffff80000000
	fields := strings.Fields(line)
	if len(fields) != 3 || !strings.ContainsAny(fields[1], "tTdDbBrR") {
		return "", 0, false
	}
	value, err := strconv.ParseUint(fields[0], 16, 64)
	return fields[2], value, err == nil && value >= kernelBase
}
