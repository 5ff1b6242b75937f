// Package rig provides a synthetic dead machine in files for the tests of cmd.
package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/test/memimage"
)

// Slide is the slide of the kernel (KASLR).
const Slide = 0x1c000000

// Rig is a dead kernel in files, with a second address space: that of the program clock, whose
// memory begins with "tick". The memory of the kernel's own begins with "pani".
type Rig struct {
	*memimage.Kernel
	Clock uint64 // CR3
	Dir   string
}

// New makes a kernel with 4 or 5 levels of page tables.
func New(t *testing.T, levels int) *Rig {
	t.Helper()
	r := &Rig{Kernel: memimage.NewKernel(&memimage.KernelOptions{Levels: levels, Slide: Slide}), Dir: t.TempDir()}
	r.Clock = r.AddProcess("tick")
	Must(t, r.Kernel.WriteFile(r.Path("ram")))
	Must(t, r.WriteVmlinux(r.Path("vmlinux"), memimage.BuildID))
	return r
}

// Path returns the path of a file in the machine's directory: ram, vmlinux or notices.
func (r *Rig) Path(name string) string { return filepath.Join(r.Dir, name) }

// Notices writes notices to a file and returns its path. CR3 and CLOCK are replaced by the two
// roots.
func (r *Rig) Notices(t *testing.T, lines ...string) string {
	t.Helper()
	text := strings.Join(lines, "\n") + "\n"
	text = strings.NewReplacer("CR3", Hex(r.CR3), "CLOCK", Hex(r.Clock)).Replace(text)
	Must(t, os.WriteFile(r.Path("notices"), []byte(text), 0o644))
	return r.Path("notices")
}

// The notices of this machine.
const (
	Panicked = `{"physgdb":1,"event":"panic","host":"db7","cpu":2,"pid":1,"comm":"init","cr3":"CR3","cr4":"0xef0",` +
		`"rip":"0xffffffff9d001010","rsp":"0xffffc900001b3d28","r12":"0x12","gs_base":"0xffff88801f100000","message":"tests"}`
	Hello = `{"physgdb":1,"event":"hello","host":"db7","pid":143,"comm":"clock","cr3":"CLOCK"}`
)

// Must fails the test if there is an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Hex returns a number as users write addresses.
func Hex(v uint64) string { return fmt.Sprintf("%#x", v) }

// WantError checks that there is an error that contains text.
func WantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want %q in it", err, text)
	}
}
