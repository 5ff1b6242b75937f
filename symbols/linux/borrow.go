package linux

import (
	"context"
	"slices"

	"physgdb/symbols"
)

// BorrowedNames are the symbols by which a kernel can be read where there is no vmlinux, if someone else tells where they
// are. Those of one kernel are not all in another.
func BorrowedNames() []string {
	return slices.Concat([]string{
		"_text", "_end", "linux_banner", "init_top_pgt", "__start_notes", "__stop_notes", "__start_BTF", "__stop_BTF",
		"__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind", "__start_orc_header",
		"__stop_orc_header", "__start_init_task", "__end_init_task", "__start_init_stack", "__end_init_stack",
		"init_task", "init_pid_ns", "nr_cpu_ids", "__cpu_possible_mask", "__per_cpu_offset", "__per_cpu_start",
		"__per_cpu_end", "runqueues", "pcpu_hot", "hardirq_stack_ptr", "cea_exception_stacks", "exec_summary_regs",
		"die_counter", "panic_cpu", "tainted_mask", "crash_notes", "prb", "log_first_idx", "shadow_timekeeper", "modules",
		"iomem_resource", "vmcoreinfo_data", "vmcoreinfo_size",
	}, restingPlaces)
}

// With returns the same kernel, explained by a vmlinux, or by what stands in for one. One whose build-id is not that in
// memory is refused with [ErrOtherKernel]; one that has none is not, as it was made of this memory.
func (k *Kernel) With(ctx context.Context, table *symbols.Table, debug Debug) (*Kernel, error) {
	text, err := linkAddr(table)
	if err != nil {
		return nil, err
	}
	known, err := k.derive(k.m, k.Root, table, debug)
	if err != nil {
		return nil, err
	}
	known.Slide = k.Text - text
	if len(table.BuildID) > 0 {
		if err := known.checkBuildID(ctx); err != nil {
			return nil, err
		}
	}
	return known, known.leaveTrampoline(ctx)
}

// WithSymbols returns the same kernel, read by symbols whose addresses someone else told, as a debugger has them: all of
// them moved by the kernel's slide, those of per-CPU variables too. Only these very addresses have names then, as nothing is
// known of their sizes.
func (k *Kernel) WithSymbols(ctx context.Context, found map[string]uint64) (*Kernel, error) {
	var table []symbols.Symbol
	for name, addr := range found {
		table = append(table, symbols.Symbol{Name: name, Addr: addr - k.Slide, Size: unknownSize})
	}
	known, err := k.derive(k.m, k.Root, symbols.NewTable(table, nil), k.debug)
	if err != nil {
		return nil, err
	}
	known.borrowed = true
	return known, known.leaveTrampoline(ctx)
}

// SizesKnown reports whether the sizes of Symbols mean anything, which those of borrowed ones do not.
func (k *Kernel) SizesKnown() bool { return !k.borrowed }

// unknownSize is the size of a symbol of which the address alone is known, in bytes.
const unknownSize = 1
