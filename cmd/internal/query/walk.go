package query

import (
	"context"
	"fmt"

	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
)

// Walk is how a virtual address is translated.
type Walk struct {
	VA      Address     `json:"va"`
	Symbol  string      `json:"symbol,omitempty"` // with the offset in it
	CR3     Address     `json:"cr3"`
	Entries []WalkEntry `json:"entries"`
	// Page is where the walk ends; null if the address is not mapped.
	Page *WalkPage `json:"page"`
	// Fault says why the address is not mapped.
	Fault string `json:"fault,omitempty"`
}

// WalkEntry is an entry of a page table on the way.
type WalkEntry struct {
	Table string  `json:"table"` // PML5, PML4, PDPT, PD or PT
	Index int     `json:"index"`
	Phys  Address `json:"phys"` // of the entry
	Value Address `json:"value"`
}

// WalkPage is the page of an address, and what physgdb knows about it.
type WalkPage struct {
	Phys  Address `json:"phys"` // of the address, not of the page
	Size  uint64  `json:"size"` // bytes
	Flags string  `json:"flags"`
	RAM   string  `json:"ram"` // yes, no (it is never read), device (it is never read without a RAM map) or unknown
}

// The values of WalkPage.RAM.
const (
	IsRAM      = "yes"
	NotRAM     = "no"
	IsDevice   = "device"
	UnknownRAM = "unknown"
)

// ReadWalk returns how va is translated in space. The error says why it is not mapped; it is in the
// result, too.
func ReadWalk(ctx context.Context, m *machine.Machine, space *mmu.Space, va uint64) (*Walk, error) {
	steps, mp, err := space.Explain(ctx, va)
	w := &Walk{VA: Address(va), Symbol: m.Kernel.NameAt(ctx, va), CR3: Address(space.Root().CR3), Entries: []WalkEntry{}}
	for _, s := range steps {
		w.Entries = append(w.Entries, WalkEntry{mmu.TableName(s.Level), int(s.Index), Address(s.Addr), Address(s.Entry)})
	}
	if err != nil {
		err = fmt.Errorf("%#x: %w", va, err)
		w.Fault = err.Error()
		return w, err
	}
	w.Page = &WalkPage{Address(mp.Phys(va)), mp.Page, mp.Flags.String(), UnknownRAM}
	switch ram := m.Memory.Info().RAM; {
	case ram.Known() && ram.Contains(mp.Phys(va), 1):
		w.Page.RAM = IsRAM
	case ram.Known():
		w.Page.RAM = NotRAM
	case mp.Flags&mmu.Uncached != 0:
		w.Page.RAM = IsDevice
	}
	return w, nil
}
