package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"physgdb/test/guest"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// dummies is the number of modules that [manyModules] has loaded, besides those of every guest.
const dummies = 120

// manyModules is a machine that died in a chain of calls through many modules.
var manyModules = &host{name: "6.12-modules", config: guest.Config{Release: "6.12", Modules: dummies, Panic: "chain"}}

// TestManyModules checks that gdb loads the symbols of every module of a machine with many, and
// names the functions of a stack through all of them. The files of all modules are made from
// memory: there are none on disk.
func TestManyModules(t *testing.T) {
	h := manyModules.ready(t)
	defer h.close()
	const list = "info sharedlibrary"
	connect := "target remote " + h.unaided(t)
	steps, err := session.GDB(limited(t, 3*time.Minute), "", connect, list, "set print frame-arguments none", "bt")
	if err != nil {
		t.Fatal(err)
	}
	h.lists(t, session.Find(steps, list))
	if err := verify.GDBCallTrace(&h.guest.Facts, session.Find(steps, "bt")); err != nil {
		t.Error(err)
	}
	if n := strings.Count(session.Find(steps, "bt"), "_call () from "); n != dummies {
		t.Errorf("the backtrace has functions of %d modules, want %d", n, dummies)
	}
	for _, s := range steps {
		t.Logf("%-40s %6.2f s", s.Command, s.Took.Seconds())
	}
	t.Run("modules", func(t *testing.T) { modulesEqualSys(t, h) })
	t.Run("lldb", func(t *testing.T) { lldbWithoutVmlinux(t, h) })
}

// lists compares what info sharedlibrary lists with the guest's /proc/modules and /sys/module.
func (h *host) lists(t *testing.T, out string) {
	t.Helper()
	row := regexp.MustCompile(`(?m)^(0x[0-9a-f]{16})  0x[0-9a-f]{16}  Yes .*/([^/]+)\.ko$`)
	listed := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(out, -1) {
		listed[m[2]] = m[1]
	}
	for line := range strings.Lines(h.guest.Facts.Modules) {
		name, _, _ := strings.Cut(line, " ")
		// If the parts of a module are not adjacent, gdb may list it by another part than its code.
		var sections []string
		for _, addr := range h.guest.Facts.ModuleSections[name] {
			sections = append(sections, fmt.Sprintf("%#016x", addr))
		}
		if !slices.Contains(sections, listed[name]) {
			t.Errorf("%s is listed at %q, /sys has %v", name, listed[name], sections)
		}
		delete(listed, name)
	}
	if len(listed) > 0 {
		t.Errorf("there are no such modules: %v", listed)
	}
}
