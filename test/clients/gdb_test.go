package clients

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"physgdb/test/session"
)

// gdbCLI is gdb at its prompt.
type gdbCLI struct{}

func (gdbCLI) name() string { return gdbVersion() }

// gdbVersion returns "gdb 13.1" for the last word of the first line of `gdb --version`.
func gdbVersion() string {
	out, err := exec.Command("gdb", "--version").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if f := strings.Fields(line); err == nil && len(f) > 0 {
		return "gdb " + f[len(f)-1]
	}
	return "gdb"
}

func (gdbCLI) start(ctx context.Context, m *machine) (driver, error) {
	gdb, err := session.InteractiveGDB(ctx, m.begin())
	if err != nil {
		return nil, err
	}
	d := &gdbDriver{machine: m, gdb: gdb, recipes: m.gdbRecipes()}
	_, err = d.gdb.Type(ctx, "echo") // it has read the file
	return d, err
}

// probe shows that the prompt works.
const probe = "p/x jiffies"

// unmappedVA is not mapped on any machine: it is in a hole of the kernel's memory map
// (Documentation/arch/x86/x86_64/mm.rst).
const unmappedVA = 0xffffffff00000000

// gdbRecipes returns the commands that a user types.
func (m *machine) gdbRecipes() map[string][]string {
	connect := "target remote " + m.address()
	s := m.search
	return map[string][]string{
		attach:      {connect},
		relocated:   {"p &init_task", "p vfs_read", "x/s linux_banner"},
		backtrace:   {"bt"},
		threads:     {"info threads"},
		printing:    {"p init_task.comm"},
		disassembly: {"x/20i vfs_read"},
		finding:     {fmt.Sprintf("find /g %#x, +%#x, %#x", s.start, s.length, s.word)},
		showCR3:     {"info registers cr3"},
		setCR3: {fmt.Sprintf("set $cr3 = %#x", m.guest.Facts.ClockCR3), fmt.Sprintf("x/gx %#x", m.clockVar),
			"monitor cr3 threads"},
		ofModule:   {"p &oops_inner"},
		resume:     {"continue", probe},
		step:       {"next", probe},
		breakpoint: {"break vfs_read", "continue", "delete", probe},
		setVar:     {"set var jiffies = 7", probe},
		ctrlC:      {"continue", probe},
		unmapped:   {fmt.Sprintf("x/gx %#x", uint64(unmappedVA)), probe},
		detach:     {"detach"},
		reattach:   {connect},
		crowded:    {connect, "info threads"},
	}
}

// gdbDriver is a gdb at its prompt.
type gdbDriver struct {
	*machine
	gdb     *session.Interactive
	recipes map[string][]string
	said    []session.Step
}

func (d *gdbDriver) do(ctx context.Context, action string) (outcome, error) {
	var o outcome
	for i, command := range d.recipes[action] {
		step, err := d.typeOne(ctx, command, action == ctrlC && i == 0)
		d.said = append(d.said, step)
		o.text += step.Output + "\n"
		o.took += step.Took
		if err != nil {
			return o, err
		}
	}
	o.items = gdbItems(o.text)
	return o, nil
}

// typeOne types a command, and Ctrl-C as soon as gdb has read it.
func (d *gdbDriver) typeOne(ctx context.Context, command string, interrupted bool) (session.Step, error) {
	if interrupted {
		return d.gdb.TypeAndInterrupt(ctx, command, 5*time.Millisecond)
	}
	return d.gdb.Type(ctx, command)
}

func (d *gdbDriver) stop(ctx context.Context) (string, error) {
	err := d.gdb.Close(ctx, "quit")
	return session.Transcript(d.said), err
}

var (
	gdbFrame  = regexp.MustCompile(`(?m)^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(`)
	gdbThread = regexp.MustCompile(`(?m)^[* ] \d+ +Thread \d+\.(\d+) "([^"]*)"`)
)

// gdbItems returns the functions or threads that gdb lists.
func gdbItems(text string) []string {
	var items []string
	for _, m := range gdbFrame.FindAllStringSubmatch(text, -1) {
		items = append(items, m[1])
	}
	for _, m := range gdbThread.FindAllStringSubmatch(text, -1) {
		items = append(items, m[1]+" "+m[2])
	}
	return items
}
