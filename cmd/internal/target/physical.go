package target

import (
	"errors"
	"fmt"
	"io"

	"physgdb/gdbstub"
)

// physicalIsOn describes the effects of physical mode and how to leave it.
const physicalIsOn = "Addresses are physical: x, dump and find see physical memory, but bt, info threads and print of " +
	"symbols show wrong values until: monitor phys off"

func (v *view) monitorPhys(w io.Writer, words []string) error {
	switch {
	case len(words) > 1 || len(words) == 1 && words[0] != "on" && words[0] != "off":
		return errors.New("monitor phys takes on or off; without an argument it shows the setting")
	case len(words) == 1:
		v.SetPhysicalMode(words[0] == "on")
	}
	said := "Addresses are virtual."
	if v.physical {
		said = physicalIsOn
	}
	if len(words) == 1 {
		said += "\nNow clear gdb's caches: maint flush dcache"
	}
	_, err := fmt.Fprintln(w, said)
	return err
}

// physicalRegion returns whether there is RAM at a physical address.
func (s *session) physicalRegion(addr uint64) (gdbstub.Region, error) {
	ram := s.m.Memory.Info().RAM
	if !ram.Known() {
		return gdbstub.Region{}, errors.New("addresses are physical, and the RAM map is not known; give --ram FILE")
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
