package linux

import (
	"context"
	"fmt"

	"physgdb/symbols"
)

// Registers are what is known of the registers of a task.
type Registers struct {
	// From says in words where they were found.
	From string
	// Exact says that RIP is the next instruction. Otherwise it is the address behind a call that has not returned.
	Exact bool
	// AtRest says that they are those of the function in which the CPU spends the time after its kernel's death.
	AtRest bool
	// Flags, CS and SS are RFLAGS and the selectors, if HasFlags is set.
	Flags    uint64
	CS, SS   uint16
	HasFlags bool
	// OrigRAX is the number of the system call for registers of user space, or negative.
	OrigRAX int64

	guessed bool // see [Frame.Guessed]

	values [symbols.RIP + 1]uint64
	known  uint32 // bit n: values[n] is
}

// NewRegisters returns registers that someone else has told, by their DWARF numbers; from says who.
func NewRegisters(from string, told map[symbols.Reg]uint64) *Registers {
	r := &Registers{From: from, Exact: true}
	for reg, v := range told {
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

// ptRegs is struct pt_regs (arch/x86/include/asm/ptrace.h): every register of what was interrupted.
type ptRegs struct {
	regs   *layout
	AX     member `c:"ax"`
	DX     member `c:"dx"`
	CX     member `c:"cx"`
	BX     member `c:"bx"`
	SI     member `c:"si"`
	DI     member `c:"di"`
	BP     member `c:"bp"`
	SP     member `c:"sp"`
	R8     member `c:"r8"`
	R9     member `c:"r9"`
	R10    member `c:"r10"`
	R11    member `c:"r11"`
	R12    member `c:"r12"`
	R13    member `c:"r13"`
	R14    member `c:"r14"`
	R15    member `c:"r15"`
	IP     member `c:"ip"`
	CS     member `c:"cs"`
	SS     member `c:"ss"`
	Flags  member `c:"flags"`
	OrigAX member `c:"orig_ax"`
}

// byNumber lists the members in the order of the registers' DWARF numbers.
func (l *ptRegs) byNumber() [symbols.RIP + 1]*member {
	return [...]*member{
		&l.AX, &l.DX, &l.CX, &l.BX, &l.SI, &l.DI, &l.BP, &l.SP,
		&l.R8, &l.R9, &l.R10, &l.R11, &l.R12, &l.R13, &l.R14, &l.R15, &l.IP,
	}
}

func (k *Kernel) ptRegsLayout(ctx context.Context) (*ptRegs, error) {
	return k.ptRegs.get(ctx, func(ctx context.Context) (*ptRegs, error) {
		l := &ptRegs{}
		var err error
		l.regs, err = k.layout(ctx, "pt_regs", l)
		return l, err
	})
}

// readPtRegs reads a struct pt_regs at a virtual address.
func (k *Kernel) readPtRegs(ctx context.Context, addr uint64) (*Registers, error) {
	l, err := k.ptRegsLayout(ctx)
	if err != nil {
		return nil, err
	}
	r, err := l.regs.readOne(ctx, k.Space, addr)
	if err != nil {
		return nil, err
	}
	regs := &Registers{
		Exact: true, Flags: l.Flags.uint(r), CS: uint16(l.CS.uint(r)), SS: uint16(l.SS.uint(r)), HasFlags: true,
		OrigRAX: int64(l.OrigAX.uint(r)),
	}
	for number, m := range l.byNumber() {
		regs.set(symbols.Reg(number), m.uint(r))
	}
	return regs, nil
}

// switchFrame is struct inactive_task_frame (arch/x86/include/asm/switch_to.h): what a task leaves on its stack when it
// gives up the CPU.
type switchFrame struct {
	frame *layout
	BX    member `c:"bx"`
	BP    member `c:"bp"`
	R12   member `c:"r12"`
	R13   member `c:"r13"`
	R14   member `c:"r14"`
	R15   member `c:"r15"`
	Ret   member `c:"ret_addr"`
}

// switchedOut reads the registers of a task that does not run.
func (k *Kernel) switchedOut(ctx context.Context, t *Task) (*Registers, error) {
	l, err := k.switchFrame.get(ctx, func(ctx context.Context) (*switchFrame, error) {
		l := &switchFrame{}
		var err error
		l.frame, err = k.layout(ctx, "inactive_task_frame", l)
		return l, err
	})
	if err != nil {
		return nil, err
	}
	if t.SP < t.Stack || t.SP+l.frame.size > t.Stack+t.stackSize {
		return nil, fmt.Errorf("its stack pointer %#x is outside its stack: damaged memory", t.SP)
	}
	r, err := l.frame.readOne(ctx, k.Space, t.SP)
	if err != nil {
		return nil, err
	}
	regs := &Registers{From: "where it gave up the CPU"}
	for reg, m := range map[symbols.Reg]*member{
		symbols.RBX: &l.BX, symbols.RBP: &l.BP, symbols.R12: &l.R12, symbols.R13: &l.R13, symbols.R14: &l.R14,
		symbols.R15: &l.R15, symbols.RIP: &l.Ret,
	} {
		regs.set(reg, m.uint(r))
	}
	regs.set(symbols.RSP, t.SP+l.frame.size)
	return regs, nil
}
