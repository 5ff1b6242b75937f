package query

import (
	"maps"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols"
	"physgdb/symbols/linux/unwind"
)

// RegisterNames are gdb's names of the registers, by their DWARF numbers.
var RegisterNames = [...]string{
	"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
}

// registerMap returns the known registers by gdb's names.
func registerMap(r *unwind.Registers) map[string]Address {
	known := map[string]Address{}
	for number, name := range RegisterNames {
		if v, ok := r.Get(symbols.Reg(number)); ok {
			known[name] = Address(v)
		}
	}
	return known
}

// NoticedRegisters returns the registers in the machine's notice, by gdb's names: those of
// panic()'s frame.
func NoticedRegisters(m *machine.Machine) map[string]uint64 {
	regs := maps.Clone(m.HintedCPU().Registers)
	delete(regs, "cr3") // that of the view is shown
	return regs
}
