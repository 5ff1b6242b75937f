package kernels

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"physgdb/test/guest"
)

// spec identifies a machine: a row of the table.
type spec struct {
	series, flavour string
	fiveLevel       bool // 5-level paging with page-table isolation; else 4-level without
	death           string
}

// allSeries are the kernels of the matrix, oldest first.
var allSeries = strings.Fields("5.10 6.1 6.12 6.16 6.18 6.19 7.0 7.1 7.2 " + guest.Newest)

// wide reports whether a series is tested in every flavour.
func wide(series string) bool {
	return slices.Contains([]string{"5.10", "6.1", "6.12", guest.Newest}, series)
}

// matrix returns all machines.
func matrix() []spec {
	var all []spec
	for _, series := range allSeries {
		flavours := []string{"cloud"}
		if wide(series) {
			flavours = append(flavours, "generic", "rt")
		}
		for _, flavour := range flavours {
			all = append(all, spec{series, flavour, false, "sysrq"}, spec{series, flavour, true, "sysrq"})
		}
		if slices.Contains([]string{"5.10", "6.12", guest.Newest}, series) {
			for i, death := range []string{"oops", "nmi", "irq", "hung"} {
				all = append(all, spec{series, "cloud", i%2 == 1, death})
			}
		}
	}
	return all
}

// sample returns the machines that are tested without a table.
func sample() []spec {
	return []spec{{allSeries[0], "cloud", true, "sysrq"}, {guest.Newest, "cloud", true, "sysrq"}}
}

func (s spec) paging() string {
	if s.fiveLevel {
		return "5-level, PTI"
	}
	return "4-level"
}

// name is the name of the row's subtest.
func (s spec) name() string {
	return fmt.Sprintf("%s-%s-%s-%s", s.series, s.flavour, strings.ReplaceAll(s.paging(), ", ", "-"), s.death)
}

// config returns the guest to boot. A debug package is fetched only for the machine whose types are
// compared with it.
func (s spec) config() guest.Config {
	return guest.Config{
		Release: s.series, Flavour: s.flavour, NoDebug: !s.hasDebug(), LA57: s.fiveLevel, PTI: s.fiveLevel, Panic: s.death, Full: true,
	}
}

// hasDebug reports whether the machine's types are compared with the debug package.
func (s spec) hasDebug() bool {
	return slices.Contains([]string{"5.10", "6.1", "6.12", "7.2", guest.Newest}, s.series) && s.flavour == "cloud" && !s.fiveLevel &&
		s.death == "sysrq"
}

// wanted returns the machines of the named series, or all if none is named. A name is that of a
// series of the matrix or what the release of the newest kernel begins with.
func wanted(ctx context.Context, names []string) ([]spec, error) {
	if len(names) == 0 {
		return matrix(), nil
	}
	newest, err := guest.PrepareKernel(ctx, guest.Wanted{Series: guest.Newest, NoDebug: true}, nil)
	if err != nil {
		return nil, err
	}
	var some []spec
	for _, name := range names {
		if strings.HasPrefix(newest.Release, name+".") {
			name = guest.Newest
		}
		found := slices.DeleteFunc(matrix(), func(s spec) bool { return s.series != name })
		if len(found) == 0 {
			return nil, fmt.Errorf("unknown kernel series %q, want some of %q", name, allSeries)
		}
		some = append(some, found...)
	}
	return some, nil
}
