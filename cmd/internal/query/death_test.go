package query

import (
	"testing"

	"physgdb/symbols/linux"
)

func TestPanicText(t *testing.T) {
	for want, tc := range map[string]struct {
		message string
		death   linux.Death
	}{
		"panicked":                         {"", linux.Death{}},
		"panicked: a":                      {"a", linux.Death{}},
		"panicked: a; BUG: b":              {"a", linux.Death{Cause: "BUG: b", Before: "BUG: c"}},
		"panicked: a; before that: BUG: c": {"a", linux.Death{Before: "BUG: c"}},
	} {
		if got := PanicText(tc.message, &tc.death); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
