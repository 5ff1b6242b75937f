package query

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// PerCPU is one CPU's copy of a per-CPU variable.
type PerCPU struct {
	CPU        int      `json:"cpu"`
	Addr       Address  `json:"addr"`
	Size       uint64   `json:"size"`             // bytes; 0 if not known
	Value      *Address `json:"value,omitempty"`  // if it has at most 8 bytes
	Symbol     string   `json:"symbol,omitempty"` // that the value points to
	Expression string   `json:"expression"`       // by which gdb prints it
}

// AllCPUs selects the copies of all CPUs.
const AllCPUs = -1

// PerCPUs returns the copies of a per-CPU variable: that of one CPU, or of [AllCPUs].
func PerCPUs(ctx context.Context, m *machine.Machine, symbol string, cpu int) ([]PerCPU, error) {
	s := perCPUSymbol(m, symbol)
	ids := []int{cpu}
	if cpu == AllCPUs {
		cpus, err := m.Kernel.CPUs(ctx)
		if err != nil {
			return nil, err
		}
		ids = ids[:0]
		for i := range cpus {
			ids = append(ids, cpus[i].ID)
		}
	}
	var copies []PerCPU
	var unread error
	for _, id := range ids {
		addr, err := m.Kernel.PerCPU(ctx, symbol, id)
		if err != nil {
			unread = cmp.Or(unread, err)
			continue
		}
		c := PerCPU{
			CPU: id, Addr: Address(addr), Size: s.Size, Expression: fmt.Sprintf("*(typeof(&%s))%#x", symbol, addr),
		}
		unread = cmp.Or(unread, c.read(ctx, m, &s))
		copies = append(copies, c)
	}
	return copies, unread
}

// perCPUSymbol looks a symbol up. Its size is 0 if that is not known.
func perCPUSymbol(m *machine.Machine, name string) symbols.Symbol {
	s, _ := m.Kernel.Symbols.Lookup(name)
	switch {
	case !m.Kernel.SizesKnown():
		s.Size = 0
	case s.Size == 0 && s.Addr >= linux.ImageBase: // kallsyms has no sizes
		next, _, _ := m.Kernel.Symbols.At(s.Addr)
		s.Size = next.Size
	}
	return s
}

// read reads the value of a variable of at most 8 bytes.
func (c *PerCPU) read(ctx context.Context, m *machine.Machine, s *symbols.Symbol) error {
	var p [8]byte
	if s.Size == 0 || s.Size > uint64(len(p)) {
		return nil
	}
	if _, err := m.Kernel.Space.ReadMemory(ctx, uint64(c.Addr), p[:s.Size]); err != nil {
		return fmt.Errorf("%s of CPU %d: %w", s.Name, c.CPU, err)
	}
	v := binary.LittleEndian.Uint64(p[:])
	c.Value = (*Address)(&v)
	if s.Size == uint64(len(p)) {
		c.Symbol = m.Kernel.NameAt(ctx, v)
	}
	return nil
}
