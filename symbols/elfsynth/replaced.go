package elfsynth

import "physgdb/symbols"

// TrueReturns is how far below a stack there is, for debuggers, the same stack with its true return
// addresses, in bytes: what they read there comes from no memory, but from the server of the
// machine. Bit 62 of an address of the kernel is set. Without it the address is not canonical,
// whatever the depth of paging, so that the machine itself has nothing there.
//
// The function_graph tracer and kretprobes replace a return address on the stack by one that is the
// same for all. The true one is in a list that belongs to the task, and the place on the stack is
// how to find it there. Call frame information has no way to that list: an expression in it knows
// registers and memory, but not which task a stack belongs to. Neither can the server put the true
// address where the debugger reads the stack, as that would show memory that was never there. With
// the second place, memory is shown as it is, an expression of one operation finds the address, and
// the file that has it is the same for all machines with the same kernel. It works in gdb 13 and
// lldb 14, which read memory at any address of 64 bits.
const TrueReturns = 1 << 62

// replacedName is the symbol of the byte before an address that replaces return addresses.
const replacedName = "[replaced-return]"

// replacedReturn writes an FDE of the byte before an address that replaces return addresses. Of
// return addresses debuggers look up the byte before. They see a frame there: it begins where the
// function that returns there ends, and its return address is the true one.
func (b *frameBuilder) replacedReturn(from, to uint64) {
	b.finish()
	at := len(b.out)
	b.out = append(b.out, make([]byte, fdeHeader)...)
	b.defWholeCFA(cfa{base: symbols.RSP})
	b.place(symbols.RIP, place{atReg, symbols.RSP, -8 - TrueReturns})
	b.header(at, 0, from, to)
	b.replaced = append(b.replaced, symbols.Symbol{Name: replacedName, Addr: from, Size: to - from, Func: true, Local: true})
}
