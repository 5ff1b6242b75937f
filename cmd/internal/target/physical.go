package host

import (
	"context"
	"errors"
	"fmt"
	"io"

	"physgdb/bridge"
	"physgdb/gdbstub"
)

// physicalIsOn says what is different in physical mode, and when to leave it.
const physicalIsOn = "Addresses are physical: x, dump and find see physical memory, but bt, info threads and print of " +
	"symbols show nonsense until: monitor phys off"

// PhysicalMode says whether addresses are physical.
func (s *session) PhysicalMode() bool { return s.physical }

// SetPhysicalMode makes addresses physical, or virtual again. What is not RAM stays refused.
func (s *session) SetPhysicalMode(on bool) { s.physical = on }

// PhysicalMode says whether addresses are physical.
func (p *program) PhysicalMode() bool { return p.shell.physical }

// SetPhysicalMode makes addresses physical, or virtual again.
func (p *program) SetPhysicalMode(on bool) { p.shell.SetPhysicalMode(on) }

// readPhysical reads what may be read: RAM.
func (s *session) readPhysical(ctx context.Context, addr uint64, p []byte) (int, error) {
	return bridge.Read(ctx, s.m.Memory, bridge.PhysAddr(addr), p, false)
}

func (s *session) monitorPhys(_ context.Context, w io.Writer, words []string) error {
	switch {
	case len(words) > 1 || len(words) == 1 && words[0] != "on" && words[0] != "off":
		return errors.New("monitor phys takes on or off, or nothing, which shows how it is")
	case len(words) == 1:
		s.SetPhysicalMode(words[0] == "on")
	}
	said := "Addresses are virtual."
	if s.physical {
		said = physicalIsOn
	}
	if len(words) == 1 {
		said += "\nNow have gdb drop what it remembers: maint flush dcache"
	}
	_, err := fmt.Fprintln(w, said)
	return err
}

// physicalRegion tells whether there is RAM at a physical address.
func (s *session) physicalRegion(addr uint64) (gdbstub.Region, error) {
	ram := s.m.Memory.Info().RAM
	if !ram.Known() {
		return gdbstub.Region{}, errors.New("addresses are physical, and where RAM is is not known: give --ram FILE")
	}
	hole := gdbstub.Region{First: 0, Last: ^uint64(0)}
	for _, r := range ram { // by rising address
		first, last := uint64(r.Start), uint64(r.End)-1
		switch {
		case addr < first:
			hole.Last = first - 1
			return hole, nil
		case addr <= last:
			return gdbstub.Region{First: first, Last: last, Mapped: true, Read: true, Name: "RAM"}, nil
		}
		hole.First = last + 1
	}
	return hole, nil
}
