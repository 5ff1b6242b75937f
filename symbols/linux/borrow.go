package linux

import (
	"context"
	"slices"

	"physgdb/symbols"
)

// BorrowedNames are the symbols with which a kernel can be read if there is no vmlinux, but a
// debugger has their addresses. A kernel does not have all of them.
func BorrowedNames() []string {
	return slices.Concat([]string{
		"_text", "_end", "linux_banner", "init_top_pgt", "__start_notes", "__stop_notes", "__start_BTF", "__stop_BTF",
		"__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind", "__start_orc_header",
		"__stop_orc_header", "__start_init_task", "__end_init_task", "__start_init_stack", "__end_init_stack",
		"init_task", "init_pid_ns", "nr_cpu_ids", "__cpu_possible_mask", "__per_cpu_offset", "__per_cpu_start",
		"__per_cpu_end", "runqueues", "pcpu_hot", "hardirq_stack_ptr", "cea_exception_stacks", "exec_summary_regs",
		"die_counter", "panic_cpu", "tainted_mask", "crash_notes", "prb", "log_first_idx", "shadow_timekeeper", "modules",
		"iomem_resource", "vmcoreinfo_data", "vmcoreinfo_size",
	}, RestingPlaces())
}

// With returns the same kernel with the symbols and debug information of a vmlinux, or of a file
// made from memory. The error is [ErrOtherKernel] if table has a build-id that differs from that in
// memory.
func (k *Kernel) With(ctx context.Context, table *symbols.Table, debug Debug) (*Kernel, error) {
	text, err := LinkAddr(table)
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

// WithSymbols returns the same kernel with symbols at addresses that a debugger has. The kernel's
// slide is added to all of them, even to those of per-CPU variables. Their sizes are not known, so
// that only these addresses have names.
func (k *Kernel) WithSymbols(ctx context.Context, found map[string]uint64) (*Kernel, error) {
	var table []symbols.Symbol
	for name, addr := range found {
		table = append(table, symbols.Symbol{Name: name, Addr: addr - k.Slide, Size: UnknownSize})
	}
	known, err := k.derive(k.m, k.Root, symbols.NewTable(table, nil), k.debug)
	if err != nil {
		return nil, err
	}
	known.borrowed = true
	return known, known.leaveTrampoline(ctx)
}

// SizesKnown reports whether Symbols have sizes, which those of [Kernel.WithSymbols] do not.
func (k *Kernel) SizesKnown() bool { return !k.borrowed }

// UnknownSize is the size in bytes of a symbol of which only the address is known.
const UnknownSize = 1
