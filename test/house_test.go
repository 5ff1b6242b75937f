// Package test keeps the house in order: who may import whom.
package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which of our packages a package, and what lies below it, may import. Tests may
// import more.
var allowed = map[string][]string{
	"bridge":                      {},
	"bridge/bridgetest":           {"bridge"},
	"bridge/dump":                 {"bridge", "internal/regular"},
	"bridge/nettlp":               {"bridge"},
	"bridge/notify":               {"internal/plain"},
	"mmu":                         {"bridge"},
	"symbols":                     {"internal/plain", "internal/regular"},
	"symbols/elfsynth":            {"symbols"},
	"symbols/linux":               {"symbols", "symbols/elfsynth", "symbols/linux/kmem", "mmu", "bridge", "internal/plain", "internal/regular"},
	"symbols/linux/kmem":          {"symbols", "mmu", "bridge"},
	"symbols/linux/kmem/kmemtest": {"symbols", "mmu", "bridge", "bridge/bridgetest", "test/memimage"},
	"gdbstub":                     {"gdbstub/rsp", "internal/plain"},
	"gdbstub/rsp":                 {},
	"cmd/internal/host":           {"bridge", "bridge/dump", "bridge/nettlp", "bridge/notify", "mmu", "symbols", "symbols/elfsynth", "symbols/linux", "gdbstub", "internal/plain", "internal/regular", "cmd/internal/kept"},
	"cmd/internal/kept":           {"internal/regular"},
	"internal/plain":              {},
	"internal/regular":            {},
	"cmd/internal/entry":          {},
	"cmd/internal/debugger":       {},
	"cmd/physgdb":                 {"cmd/internal/host", "cmd/internal/entry", "cmd/internal/debugger", "bridge", "bridge/nettlp", "bridge/notify", "mmu", "gdbstub", "internal/plain"},
}

func TestImportsPointOneWay(t *testing.T) {
	const module = "physgdb/"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		if strings.HasPrefix(pkg, "test") {
			continue
		}
		may, known := allowed[pkg]
		if !known {
			t.Errorf("%s has no place in the house yet", pkg)
		}
		seen++
		for _, imported := range fields[1:] {
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s", pkg, ours)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d packages, but places for %d", seen, len(allowed))
	}
}
