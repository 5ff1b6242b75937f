package nettlp

import (
	"fmt"
	"strconv"
	"strings"
)

// ID names a PCIe function: bus<<8 | device<<3 | function (PCIe base spec §2.2.6.2). Requests carry
// the ID of the adapter as requester; completions are routed back by it.
type ID uint16

// String writes the ID as lspci does: bus:device.function in hexadecimal.
func (id ID) String() string {
	return fmt.Sprintf("%02x:%02x.%x", uint16(id)>>8, uint16(id)>>3&0x1f, uint16(id)&7)
}

// ParseID reads an ID written as BB:DD.F, as lspci does, or as BB:DF, where DF is the whole device
// and function byte, as libtlp's tools take it (-b). All numbers are hexadecimal.
func ParseID(s string) (ID, error) {
	bus, rest, ok := strings.Cut(s, ":")
	dev, fn, dotted := strings.Cut(rest, ".")
	b, errBus := strconv.ParseUint(bus, 16, 8)
	d, errDev := strconv.ParseUint(dev, 16, 8)
	if !ok || errBus != nil || errDev != nil {
		return 0, fmt.Errorf("%q is not a PCIe ID: want BB:DD.F as lspci shows it, such as 1b:00.0", s)
	}
	if !dotted {
		return ID(b<<8 | d), nil
	}
	f, err := strconv.ParseUint(fn, 16, 8)
	if err != nil || d > 0x1f || f > 7 {
		return 0, fmt.Errorf("%q is not a PCIe ID: device is at most 1f, function at most 7", s)
	}
	return ID(b<<8 | d<<3 | f), nil
}
