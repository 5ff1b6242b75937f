package gdbstub

import (
	"bytes"
	"context"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/gdbstub/tdesc"
)

// readRegisters answers g: every register in the order of the Description, unavailable ones as x
// digits.
func (s *session) readRegisters(ctx context.Context, args []byte) reply {
	id, _, err := s.aboutThread(ctx, args)
	if err != nil {
		return s.refuse(err.Error())
	}
	s.client.readRegisters = true
	known, err := s.askRegisters(ctx, id)
	if err != nil {
		return s.refuse(err.Error())
	}
	var all []byte
	for _, r := range s.selected.registers {
		all = r.AppendHex(all, known)
	}
	s.out = rsp.AppendRuns(s.out[:0], all) // most are x digits
	return reply{payload: s.out}
}

// readRegister answers p, with the register's number in hex.
func (s *session) readRegister(ctx context.Context, args []byte) reply {
	id, number, err := s.aboutThread(ctx, args)
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	r, found := s.registerByNumber(number)
	if !found {
		return text(codeRefused)
	}
	known, err := s.askRegisters(ctx, id)
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	if s.client.lldb && !r.Available(known) {
		return text(tooShort)
	}
	s.out = r.AppendHex(s.out[:0], known)
	return reply{payload: s.out}
}

// tooShort reports to lldb that a register is unavailable: lldb discards an answer that has
// fewer bytes than the register. It does not know x digits, and an error in reply to its first p,
// which asks for register 0, would make it use g from then on and take what is unavailable for
// values.
const tooShort = "xx"

// writeRegister answers P, as in P2d=0010000000000000. gdb shows the words of a refusal in every
// version.
func (s *session) writeRegister(ctx context.Context, args []byte) reply {
	id, args, err := s.aboutThread(ctx, args)
	if err != nil {
		return s.refuse(err.Error())
	}
	number, digits, _ := bytes.Cut(args, []byte("="))
	r, found := s.registerByNumber(number)
	if !found {
		return s.refuse("There is no such register.")
	}
	value, err := r.ParseHex(digits)
	if err != nil {
		return s.refuse(err.Error())
	}
	writer := s.selected.can.registerWriter
	if writer == nil {
		return s.refuse("Registers are read-only. " + s.selected.can.whyHalted)
	}
	_, err = worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (struct{}, error) {
		return struct{}{}, writer.WriteRegister(ctx, id, r.Name, value)
	})
	if err != nil {
		return s.refuse(err.Error())
	}
	return ok()
}

func (s *session) askRegisters(ctx context.Context, id ThreadID) (Registers, error) {
	return worker.Ask(ctx, s.selected.worker, func(ctx context.Context, t Target) (Registers, error) { return t.Registers(ctx, id) })
}

// selectedThread returns the thread that the client last selected, or the first.
func (s *session) selectedThread(ctx context.Context) (ThreadID, error) {
	err := s.needThreads(ctx, s.selected)
	return s.selected.current, err
}

// registerByNumber reads a register number in hex.
func (s *session) registerByNumber(digits []byte) (tdesc.Register, bool) {
	n, valid := rsp.ParseHex(digits)
	if !valid || n >= uint64(len(s.selected.registers)) {
		return tdesc.Register{}, false
	}
	return s.selected.registers[n], true
}
