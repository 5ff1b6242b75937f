package guest

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Registers returns the registers of a CPU from QEMU, by gdb's names: rax to r15, rip, rsp,
// eflags, cs, ss, ds, es, fs, gs, fs_base, gs_base, cr0, cr2, cr3, cr4, efer; and cpl, the
// privilege level. Those of a running guest change all the time. QEMU does not show
// kernel_gs_base.
func (g *Guest) Registers(ctx context.Context, cpu int) (map[string]uint64, error) {
	text, err := g.HMPOn(ctx, cpu, "info registers")
	if err != nil {
		return nil, err
	}
	registers := parseRegisters(text)
	for _, name := range []string{"rip", "rsp", "eflags", "cs", "gs_base", "cr3", "efer", "cpl"} {
		if _, ok := registers[name]; !ok {
			return nil, fmt.Errorf("QEMU shows no %s of CPU %d:\n%s", name, cpu, text)
		}
	}
	return registers, nil
}

// Lines of "info registers" (target/i386/cpu-dump.c): "RAX=… RBX=…", "RIP=… RFL=… [---Z-P-] CPL=0
// …", "CR0=… CR2=… …", "EFER=…", and for each segment "CS =0010 base limit flags …".
var (
	qemuRegister = regexp.MustCompile(`\b(R[A-Z0-9]{1,2}|RFL|CPL|CR[0234]|EFER)\s*=([0-9a-f]+)`)
	qemuSegment  = regexp.MustCompile(`(?m)^([CDEFGS]S) =([0-9a-f]+) ([0-9a-f]+) `)
)

func parseRegisters(text string) map[string]uint64 {
	registers := map[string]uint64{}
	for _, found := range qemuRegister.FindAllStringSubmatch(text, -1) {
		registers[strings.ToLower(found[1])] = parseHex(found[2])
	}
	if flags, ok := registers["rfl"]; ok {
		registers["eflags"] = flags
		delete(registers, "rfl")
	}
	for _, found := range qemuSegment.FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(found[1])
		registers[name] = parseHex(found[2])
		if name == "fs" || name == "gs" {
			registers[name+"_base"] = parseHex(found[3])
		}
	}
	return registers
}

// SpinnerRegisters returns the registers of the process spinner, except rsp, rip and eflags, which
// it does not set: each byte of one is 0x10 plus gdb's number of it.
func SpinnerRegisters() map[string]uint64 {
	registers := map[string]uint64{}
	for number, name := range []string{
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	} {
		registers[name] = 0x0101010101010101 * uint64(0x10+number)
	}
	delete(registers, "rsp")
	return registers
}
