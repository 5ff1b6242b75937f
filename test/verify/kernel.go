package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
)

// Row returns the value of a row of `info`, or "".
func Row(info, name string) string {
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, name+"  "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Dmesg compares the output of `dmesg` with what the kernel printed on its serial console.
func Dmesg(printed []guest.LogLine, out string) error {
	var want []string
	for _, l := range printed {
		line := fmt.Sprintf("[%5d.%06d] %s", l.Time/time.Second, l.Time%time.Second/time.Microsecond, l.Text)
		want = append(want, strings.TrimRight(line, " "))
	}
	got := strings.Split(strings.TrimSpace(out), "\n")
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("dmesg differs from the serial log (-serial +dmesg):\n%s", diff)
	}
	return nil
}

// Module is a line of `physgdb modules --json`.
type Module struct {
	Name, File string
	BuildID    string `json:"build_id"`
	Base       string
	Size       int
	Sections   []struct{ Name, Addr string }
}

// Modules compares the output of `modules --json` with /proc/modules and /sys/module.
func Modules(facts *guest.Facts, out string) error {
	modules, err := JSONLines[Module](out)
	if err != nil {
		return err
	}
	var want, got []string
	for line := range strings.Lines(facts.Modules) {
		f := strings.Fields(line) // name size refs users state address
		want = append(want, strings.Join([]string{f[0], f[1], f[5]}, " "))
	}
	var errs []error
	for _, m := range modules {
		got = append(got, fmt.Sprintf("%s %d %s", m.Name, m.Size, m.Base))
		errs = append(errs, m.check(facts))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		errs = append(errs, fmt.Errorf("modules (-/proc/modules +modules):\n%s", diff))
	}
	return errors.Join(errs...)
}

// check compares the build-id and the sections of a module with those in /sys/module.
func (m *Module) check(facts *guest.Facts) error {
	var errs []error
	if m.BuildID != facts.ModuleBuildIDs[m.Name] {
		errs = append(errs, fmt.Errorf("%s has build-id %s, /sys has %s", m.Name, m.BuildID, facts.ModuleBuildIDs[m.Name]))
	}
	sections := facts.ModuleSections[m.Name]
	for _, s := range m.Sections {
		if addr := fmt.Sprintf("%#x", sections[s.Name]); s.Addr != addr {
			errs = append(errs, fmt.Errorf("%s of %s at %s, /sys has %s", s.Name, m.Name, s.Addr, addr))
		}
	}
	if len(m.Sections) != len(sections) {
		errs = append(errs, fmt.Errorf("%s has %d sections, /sys has %d", m.Name, len(m.Sections), len(sections)))
	}
	return errors.Join(errs...)
}

// Symbols are the lines of a /proc/kallsyms.
type Symbols []Symbol

// Symbol is a line of /proc/kallsyms.
type Symbol struct {
	Address      uint64
	Name, Module string
	Type         byte
}

// ParseSymbols reads a /proc/kallsyms.
func ParseSymbols(text string) (Symbols, error) {
	var all Symbols
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			return nil, fmt.Errorf("kallsyms: %q", line)
		}
		address, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("kallsyms: %q: %w", line, err)
		}
		s := Symbol{Address: address, Name: f[2], Type: f[1][0]}
		if len(f) > 3 {
			s.Module = strings.Trim(f[3], "[]")
		}
		all = append(all, s)
	}
	return all, nil
}

// address returns where the kernel has a symbol, or 0.
func (s Symbols) address(name string) uint64 {
	for _, symbol := range s {
		if symbol.Name == name && symbol.Module == "" {
			return symbol.Address
		}
	}
	return 0
}

// Function returns a function of a module whose name and address occur once, or nil.
func (s Symbols) Function(module string) *Symbol {
	names, addresses := map[string]int{}, map[uint64]int{}
	for _, symbol := range s {
		names[symbol.Name]++
		addresses[symbol.Address]++
	}
	for i, symbol := range s {
		code := symbol.Type == 't' || symbol.Type == 'T'
		plain := !strings.ContainsAny(symbol.Name, ".$") && !strings.Contains(symbol.Name, "__")
		if symbol.Module == module && code && plain && names[symbol.Name] == 1 && addresses[symbol.Address] == 1 {
			return &s[i]
		}
	}
	return nil
}

// places counts symbols by name, module and address.
func (s Symbols) places() map[string]int {
	all := map[string]int{}
	for _, symbol := range s {
		all[fmt.Sprintf("%#x %s", symbol.Address, InModule(symbol.Name, symbol.Module))]++
	}
	return all
}

// Kallsyms compares the /proc/kallsyms that physgdb serves with the guest's: each symbol of the one
// must be in the other, at the same address. physgdb adds those of kallsyms itself, kallsyms_names
// and others, which the kernel does not list.
func Kallsyms(want, got Symbols) error {
	if len(want) < 10000 {
		return fmt.Errorf("the guest reported only %d symbols", len(want))
	}
	missing, extra := want.places(), got.places()
	for place, n := range got.places() {
		missing[place] -= n
	}
	for place, n := range want.places() {
		extra[place] -= n
	}
	maps.DeleteFunc(extra, func(place string, _ int) bool { return strings.Contains(place, " kallsyms_") })
	return errors.Join(differ("missing", missing), differ("not in /proc/kallsyms", extra))
}

// differ returns an error for the entries above zero.
func differ(what string, counts map[string]int) error {
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n <= 0 })
	if len(counts) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(counts))
	return fmt.Errorf("%d symbols are %s: %q", len(counts), what, names[:min(len(names), 10)])
}
