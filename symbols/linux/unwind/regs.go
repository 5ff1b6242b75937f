package unwind

import (
	"context"
	"fmt"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// Registers are the known registers of a task.
type Registers struct {
	// From describes where they were found.
	From string
	// Exact reports whether RIP is the next instruction. Otherwise it is the return address of a
	// call in progress.
	Exact bool
	// AtRest reports whether they are those of a function that a CPU does not leave after the
	// kernel's death.
	AtRest bool
	// Flags, CS and SS are RFLAGS and the selectors, if HasFlags is set.
	Flags    uint64
	CS, SS   uint16
	HasFlags bool
	// OrigRAX is the number of the system call in registers of user space, or negative.
	OrigRAX int64

	guessed bool // see [Frame.Guessed]

	values [symbols.RIP + 1]uint64
	known  uint32 // bit n: values[n] is
}

// NewRegisters returns registers with the given values, by their DWARF numbers. from describes
// their origin.
func NewRegisters(from string, values map[symbols.Reg]uint64) *Registers {
	r := &Registers{From: from, Exact: true}
	for reg, v := range values {
		r.set(reg, v)
	}
	return r
}

// Get returns the value of a register, if it is known.
func (r *Registers) Get(reg symbols.Reg) (uint64, bool) {
	if int(reg) >= len(r.values) || r.known>>reg&1 == 0 {
		return 0, false
	}
	return r.values[reg], true
}

// PC returns RIP, or 0 if nothing is known.
func (r *Registers) PC() uint64 { return r.values[symbols.RIP] }

// SP returns RSP, or 0 if nothing is known.
func (r *Registers) SP() uint64 { return r.values[symbols.RSP] }

func (r *Registers) set(reg symbols.Reg, v uint64) {
	r.values[reg] = v
	r.known |= 1 << reg
}

func (r *Registers) forget(regs ...symbols.Reg) {
	for _, reg := range regs {
		r.values[reg] = 0
		r.known &^= 1 << reg
	}
}

// User reports whether the registers are those of user space.
func (r *Registers) User() bool { return r.HasFlags && r.CS&3 == 3 }

// ptRegs is struct pt_regs (arch/x86/include/asm/ptrace.h): all registers of the code that was
// interrupted.
type ptRegs struct {
	AX     uint64 `c:"ax"`
	DX     uint64 `c:"dx"`
	CX     uint64 `c:"cx"`
	BX     uint64 `c:"bx"`
	SI     uint64 `c:"si"`
	DI     uint64 `c:"di"`
	BP     uint64 `c:"bp"`
	SP     uint64 `c:"sp"`
	R8     uint64 `c:"r8"`
	R9     uint64 `c:"r9"`
	R10    uint64 `c:"r10"`
	R11    uint64 `c:"r11"`
	R12    uint64 `c:"r12"`
	R13    uint64 `c:"r13"`
	R14    uint64 `c:"r14"`
	R15    uint64 `c:"r15"`
	IP     uint64 `c:"ip"`
	CS     uint16 `c:"cs"`
	SS     uint16 `c:"ss"`
	Flags  uint64 `c:"flags"`
	OrigAX int64  `c:"orig_ax"`
}

// byNumber lists the registers in the order of their DWARF numbers.
func (p *ptRegs) byNumber() [symbols.RIP + 1]uint64 {
	return [...]uint64{
		p.AX, p.DX, p.CX, p.BX, p.SI, p.DI, p.BP, p.SP, p.R8, p.R9, p.R10, p.R11, p.R12, p.R13, p.R14, p.R15, p.IP,
	}
}

func (u *Unwinder) ptRegsLayout(ctx context.Context) (*kmem.Struct[ptRegs], error) {
	return u.ptRegs.Get(ctx, func(ctx context.Context) (*kmem.Struct[ptRegs], error) {
		return linux.StructOf[ptRegs](ctx, u.Kernel, "pt_regs")
	})
}

// readPtRegs reads a struct pt_regs at a virtual address.
func (u *Unwinder) readPtRegs(ctx context.Context, addr uint64) (*Registers, error) {
	layout, err := u.ptRegsLayout(ctx)
	if err != nil {
		return nil, err
	}
	p, err := layout.ReadOne(ctx, u.Kernel.Space, addr)
	if err != nil {
		return nil, err
	}
	regs := &Registers{Exact: true, Flags: p.Flags, CS: p.CS, SS: p.SS, HasFlags: true, OrigRAX: p.OrigAX}
	for number, v := range p.byNumber() {
		regs.set(symbols.Reg(number), v)
	}
	return regs, nil
}

// switchFrame is struct inactive_task_frame (arch/x86/include/asm/switch_to.h), which a task leaves
// on its stack when it gives up the CPU.
type switchFrame struct {
	BX  uint64 `c:"bx"`
	BP  uint64 `c:"bp"`
	R12 uint64 `c:"r12"`
	R13 uint64 `c:"r13"`
	R14 uint64 `c:"r14"`
	R15 uint64 `c:"r15"`
	Ret uint64 `c:"ret_addr"`
}

// switchedOut reads the registers of a task that does not run.
func (u *Unwinder) switchedOut(ctx context.Context, t *linux.Task) (*Registers, error) {
	layout, err := u.switchFrame.Get(ctx, func(ctx context.Context) (*kmem.Struct[switchFrame], error) {
		return linux.StructOf[switchFrame](ctx, u.Kernel, "inactive_task_frame")
	})
	if err != nil {
		return nil, err
	}
	if t.SP < t.Stack || t.SP+layout.Size() > t.StackEnd() {
		return nil, fmt.Errorf("its stack pointer %#x is outside its stack: damaged memory", t.SP)
	}
	f, err := layout.ReadOne(ctx, u.Kernel.Space, t.SP)
	if err != nil {
		return nil, err
	}
	regs := &Registers{From: "where it gave up the CPU"}
	for reg, v := range map[symbols.Reg]uint64{
		symbols.RBX: f.BX, symbols.RBP: f.BP, symbols.R12: f.R12, symbols.R13: f.R13, symbols.R14: f.R14,
		symbols.R15: f.R15, symbols.RIP: f.Ret, symbols.RSP: t.SP + layout.Size(),
	} {
		regs.set(reg, v)
	}
	return regs, nil
}
