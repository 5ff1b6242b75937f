package host

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"physgdb/internal/plain"
	"physgdb/symbols"
)

func percpuCommand() Command {
	return Command{
		Name: "percpu", Args: "SYMBOL CPU|all",
		Help: "where a CPU's copy of a per-CPU variable lies, its value if it is small, and how gdb prints it",
		About: `gdb itself cannot find per-CPU variables: their symbols have the address of no CPU's copy. What stands at the end
of the line can be pasted into it.

Examples:
  physgdb percpu file:/tmp/ram runqueues 0
  physgdb percpu file:/tmp/ram this_cpu_off all`,
		Options: []Option{jsonOption("cpu, addr, size, value, expression")},
		prepare: preparePerCPU,
	}
}

func preparePerCPU(r *request) (Answer, error) {
	if len(r.args) != 2 {
		return nil, errors.New("want SYMBOL and CPU, such as: runqueues 0, or: runqueues all")
	}
	symbol, which := r.args[0], r.args[1]
	cpu := -1
	if which != "all" {
		n, err := strconv.ParseUint(which, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no CPU: want a number such as 0, or all", which)
		}
		cpu = int(n)
	}
	return func(ctx context.Context, m *Machine, w io.Writer) error {
		return m.writePerCPU(ctx, w, symbol, cpu, r.on("json"))
	}, nil
}

// perCPULine is a CPU's copy of a variable as JSON shows it.
type perCPULine struct {
	CPU        int      `json:"cpu"`
	Addr       address  `json:"addr"`
	Size       uint64   `json:"size"`             // bytes; 0 if not known
	Value      *address `json:"value,omitempty"`  // if it has at most 8 bytes
	Symbol     string   `json:"symbol,omitempty"` // that the value points to
	Expression string   `json:"expression"`
}

// writePerCPU shows the copies of a per-CPU variable: that of a CPU, or all if cpu is negative.
func (m *Machine) writePerCPU(ctx context.Context, w io.Writer, symbol string, cpu int, asJSON bool) error {
	if err := m.needSymbols("percpu"); err != nil {
		return err
	}
	s := m.perCPUSymbol(symbol)
	ids := []int{cpu}
	if cpu < 0 {
		cpus, err := m.Kernel.CPUs(ctx)
		if err != nil {
			return fmt.Errorf("percpu: %w", err)
		}
		ids = ids[:0]
		for i := range cpus {
			ids = append(ids, cpus[i].ID)
		}
	}
	out := bufio.NewWriter(w)
	var unread error
	for _, id := range ids {
		addr, err := m.Kernel.PerCPU(ctx, symbol, id)
		if err != nil {
			unread = cmp.Or(unread, fmt.Errorf("percpu: %w", err))
			continue
		}
		line := &perCPULine{
			CPU: id, Addr: address(addr), Size: s.Size, Expression: fmt.Sprintf("*(typeof(&%s))%#x", symbol, addr),
		}
		unread = cmp.Or(unread, line.read(ctx, m, &s))
		if err := line.write(out, asJSON); err != nil {
			return err
		}
	}
	return cmp.Or(out.Flush(), unread)
}

// perCPUSymbol looks a symbol up. It has the size 0 if that is not known.
func (m *Machine) perCPUSymbol(name string) symbols.Symbol {
	s, _ := m.Kernel.Symbols.Lookup(name)
	if !m.Kernel.SizesKnown() {
		s.Size = 0
	}
	return s
}

// read reads the value, if it is a number or a pointer at most.
func (l *perCPULine) read(ctx context.Context, m *Machine, s *symbols.Symbol) error {
	var p [8]byte
	if s.Size == 0 || s.Size > uint64(len(p)) {
		return nil
	}
	if _, err := m.Kernel.Space.ReadMemory(ctx, uint64(l.Addr), p[:s.Size]); err != nil {
		return fmt.Errorf("percpu: %s of CPU %d: %w", s.Name, l.CPU, err)
	}
	v := binary.LittleEndian.Uint64(p[:])
	l.Value = (*address)(&v)
	if s.Size == uint64(len(p)) {
		l.Symbol = m.Kernel.NameAt(ctx, v)
	}
	return nil
}

func (l *perCPULine) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return plain.WriteJSON(w, l)
	}
	fmt.Fprintf(w, "CPU %-3d %v", l.CPU, l.Addr)
	if l.Value != nil {
		fmt.Fprintf(w, " = %v", *l.Value)
	}
	if l.Symbol != "" {
		fmt.Fprintf(w, " <%s>", l.Symbol)
	}
	_, err := fmt.Fprintf(w, "  print %s\n", l.Expression)
	return err
}
