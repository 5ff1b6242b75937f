package target

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// monitorRegisters writes the known registers of the thread that was last asked about, for scripts
// that read what QEMU's monitor writes (x86_cpu_dump_state(), target/i386/cpu-dump.c): names in
// capitals, hexadecimal numbers without 0x, and the interrupt descriptor table as a base and a
// limit.
func (v *view) monitorRegisters(ctx context.Context, w io.Writer) error {
	t := v.now
	if t == nil {
		all, err := v.threads(ctx)
		if err != nil {
			return err
		}
		t = &all[0]
	}
	regs, err := v.registers(ctx, t)
	if err != nil {
		return err
	}
	if cr3, err := v.cr3(ctx, t); err == nil {
		regs["cr3"] = cr3
	}
	for _, name := range slices.Sorted(maps.Keys(regs)) {
		fmt.Fprintf(w, "%s=%016x\n", strings.ToUpper(name), regs[name])
	}
	if base, limit, err := v.m.Kernel.IDT(ctx); err == nil {
		fmt.Fprintf(w, "IDT=     %016x %08x\n", base, limit)
	}
	return nil
}
