package query

import (
	"context"
	"fmt"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
)

// Info describes a machine and how that is known.
type Info struct {
	Source  string  `json:"source"`
	Layout  string  `json:"layout,omitempty"`   // of a file, as its map=; it was found to fit
	RAM     []Range `json:"ram"`                // empty if it is not known
	RAMFrom string  `json:"ram_from,omitempty"` // where the RAM map comes from
	Host    string  `json:"host,omitempty"`     // by the notice
	Panic   string  `json:"panic,omitempty"`    // why it panicked
	Kernel  string  `json:"kernel,omitempty"`   // the banner
	Other   string  `json:"other_kernel,omitempty"`
	// BuildID is the kernel's, in hexadecimal; empty if it is not known.
	BuildID string       `json:"build_id,omitempty"`
	Symbols InfoSymbols  `json:"symbols"`
	FoundBy string       `json:"found_by"`
	FoundIn Stats        `json:"found_in"`
	CR3     Address      `json:"cr3"`
	Levels  int          `json:"levels"`            // of the page tables
	Process string       `json:"process,omitempty"` // whose address space CR3 is, if the user selected one
	Text    Address      `json:"text"`              // _text
	TextAt  Address      `json:"text_phys"`         // the physical address of _text
	Slide   Address      `json:"slide"`             // by which KASLR moved the kernel; without symbols it is a guess
	Base    SignedNumber `json:"phys_base"`
	CPUs    []CPU        `json:"cpus"`
}

// SignedNumber is a number that users read in hexadecimal, and that may be negative: "-0x1cc00000".
type SignedNumber int64

func (n SignedNumber) String() string { return fmt.Sprintf("%#x", int64(n)) }

// MarshalText returns the number as JSON shows it.
func (n SignedNumber) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Range is a range of physical addresses.
type Range struct {
	First Address `json:"first"`
	Last  Address `json:"last"` // included
}

// InfoSymbols says where the kernel's names and types come from.
type InfoSymbols struct {
	Count   int      `json:"count"`             // 0 if there are none, or they are few
	Origin  string   `json:"origin"`            // user, build-id, memory, cache, debugger or none
	File    string   `json:"file,omitempty"`    // a file of the user or one found by its build-id
	Why     string   `json:"why,omitempty"`     // why there are none
	Missing []string `json:"missing,omitempty"` // what could not be read from memory
}

// The origins of symbols in addition to those of [machine.Origin].
const (
	OriginNone     = "none"
	OriginDebugger = "debugger"
)

// CPU is a CPU of the machine.
type CPU struct {
	CPU      int  `json:"cpu"`
	Panicked bool `json:"panicked,omitempty"`
	Offline  bool `json:"offline,omitempty"`
}

// ReadInfo describes a machine whose memory is looked at through space.
func ReadInfo(ctx context.Context, m *machine.Machine, space *mmu.Space) *Info {
	k := m.Kernel
	i := &Info{
		Source: m.Memory.Info().Name, Layout: m.Memory.Layout, RAMFrom: m.Memory.RAMFrom, RAM: ranges(m.Memory.Info().RAM),
		Panic: PanicSummary(ctx, m), Kernel: k.Banner(ctx), Other: m.OtherKernel(ctx), Symbols: infoSymbols(ctx, m),
		FoundBy: fmt.Sprint(k.FoundBy), FoundIn: newStats(m.Memory, m.FoundIn),
		CR3: Address(space.Root().CR3), Levels: k.Root.Levels, Process: m.Process,
		Text: Address(k.Text), TextAt: Address(k.TextPhys), Slide: Address(k.Slide), Base: SignedNumber(k.PhysBase()),
		CPUs: cpus(ctx, m),
	}
	if m.Notice != nil {
		i.Host = m.Notice.Host
	}
	if k.Symbols != nil && k.SizesKnown() {
		i.BuildID = fmt.Sprintf("%x", k.Symbols.BuildID)
	}
	return i
}

func ranges(ram bridge.RAMMap) []Range {
	list := []Range{}
	for _, r := range ram {
		list = append(list, Range{Address(r.Start), Address(r.End - 1)})
	}
	return list
}

func infoSymbols(ctx context.Context, m *machine.Machine) InfoSymbols {
	switch s := m.SymbolSource(ctx); {
	case m.Kernel.Symbols == nil:
		return InfoSymbols{Origin: OriginNone, Why: m.WhyNoSymbols()}
	case !m.Kernel.SizesKnown() || s == nil:
		return InfoSymbols{Origin: OriginDebugger}
	default:
		i := InfoSymbols{Count: s.Symbols, Origin: string(s.Origin)}
		if s.Origin == machine.OriginUser || s.Origin == machine.OriginBuildID {
			i.File = s.Path
		}
		for _, err := range s.Missing {
			i.Missing = append(i.Missing, err.Error())
		}
		return i
	}
}

func cpus(ctx context.Context, m *machine.Machine) []CPU {
	list := []CPU{}
	dead, off := deadCPU(ctx, m), offline(ctx, m)
	for _, id := range m.CPUs {
		list = append(list, CPU{id, id == dead, id != dead && off[id]})
	}
	return list
}

// offline returns which CPUs were not up, by their numbers, as far as that is known.
func offline(ctx context.Context, m *machine.Machine) map[int]bool {
	set := map[int]bool{}
	if m.Kernel.Symbols == nil {
		return set
	}
	cpus, _ := m.Kernel.CPUs(ctx)
	for i := range cpus {
		set[cpus[i].ID] = cpus[i].Offline
	}
	return set
}
