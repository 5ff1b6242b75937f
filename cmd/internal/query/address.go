package query

import (
	"fmt"
	"strconv"
	"strings"

	"physgdb/cmd/internal/machine"
)

// Addresses returns the virtual addresses that a user typed: numbers, see [ParseAddress], or
// symbols of the kernel, with or without +offset. The error is a [*machine.UsageError].
func Addresses(m *machine.Machine, texts []string) ([]uint64, error) {
	vas := make([]uint64, len(texts))
	for i, text := range texts {
		var err error
		if vas[i], err = address(m, text); err != nil {
			return nil, &machine.UsageError{Err: err}
		}
	}
	return vas, nil
}

// address returns the address of one word. A name must have one address: it must not belong to
// several symbols or to a per-CPU variable.
func address(m *machine.Machine, text string) (uint64, error) {
	addrs, err := addresses(m, text)
	if err != nil {
		return 0, err
	}
	if len(addrs) > 1 {
		return 0, fmt.Errorf("%q is the name of several symbols, at %s; give one of these addresses", text, addressList(addrs))
	}
	name, _, _ := strings.Cut(text, "+")
	if at, ok := m.Kernel.Addr(name); ok && m.Kernel.IsPerCPU(at) {
		return 0, fmt.Errorf("%q is a per-CPU variable: each CPU has its own copy; percpu %s all shows the addresses", text, name)
	}
	return addrs[0], nil
}

// maxAddresses bounds how many addresses of one name are listed.
const maxAddresses = 32

func addressList(addrs []uint64) string {
	var list []string
	for _, addr := range addrs[:min(len(addrs), maxAddresses)] {
		list = append(list, fmt.Sprintf("%#x", addr))
	}
	if more := len(addrs) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// addresses returns the addresses of one word: a number, or the name of one or several symbols with
// or without +offset.
func addresses(m *machine.Machine, text string) ([]uint64, error) {
	v, err := ParseAddress(text)
	switch {
	case err == nil:
		return []uint64{v}, nil
	case strings.HasPrefix(text, "$"):
		return nil, fmt.Errorf("%q is known only to the debugger; give its value, see print/x %s", text, text)
	case m.Kernel.Symbols == nil:
		return nil, fmt.Errorf("%w, and symbols are not known: %s", err, m.WhyNoSymbols())
	}
	name, offset, plus := strings.Cut(text, "+")
	var off uint64
	if plus {
		if off, err = strconv.ParseUint(offset, 0, 64); err != nil {
			return nil, fmt.Errorf("%q: %q is not an offset: want one such as 16 or 0x10", text, offset)
		}
	}
	addrs := m.Kernel.Addrs(name)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%q is neither an address such as 0x1000 nor a symbol of the kernel", text)
	}
	for i := range addrs {
		addrs[i] += off
	}
	return addrs, nil
}

// ParseAddress reads an address, virtual or physical. It must begin with 0x: the base of 1000 is
// ambiguous, and a wrong guess would show a wrong place.
func ParseAddress(text string) (uint64, error) {
	digits, isHex := strings.CutPrefix(strings.ToLower(text), "0x")
	v, err := strconv.ParseUint(digits, 16, 64)
	switch {
	case err == nil && (isHex || v == 0):
		return v, nil
	case err == nil:
		return 0, fmt.Errorf("%q is not an address; for a hexadecimal number write 0x%s", text, digits)
	}
	return 0, fmt.Errorf("%q is not an address such as 0x1000", text)
}
