package orc

import (
	"encoding/binary"
	"sort"

	"physgdb/symbols"
)

// StackCall is the function of Linux 5.8 to 5.11 that calls another on the stack for interrupts:
// asm_call_on_stack in arch/x86/entry/entry_64.S, with the inner labels asm_call_sysvec_on_stack
// and asm_call_irq_on_stack since 5.9. Later kernels switch stacks inline, and their ORC tables
// describe it.
const StackCall = "asm_call_on_stack"

// FollowStackCalls changes how the table unwinds StackCall, if the kernel with these names has it.
// The table finds the frame by RBP. The function also writes RBP to the top of the new stack, which
// is where RSP points when the function that it calls returns. The changed entries use that word:
// RBP is not known if the registers are those of a function that does not use it.
func (o *Table) FollowStackCalls(names *symbols.Table) {
	fn, ok := names.Lookup(StackCall)
	if !ok || o.format != Linux4_14 {
		return
	}
	const sp, bp = 9, 4 // numbers of "the word at RSP" and RBP
	const both = 8 + 8  // bytes: RBP as saved, and the return address
	end := names.Next(fn.Addr)
	first := sort.Search(o.len(), func(i int) bool { return o.ip(i) >= fn.Addr })
	for i := first; i < o.len() && o.ip(i) < end; i++ {
		entry := o.entry(i)
		if entry[4]&0xf == bp && binary.LittleEndian.Uint16(entry) == both {
			entry[4] = entry[4]&^0xf | sp
		}
	}
}
