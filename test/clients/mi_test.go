package clients

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"physgdb/test/session"
)

// gdbMI is gdb's machine interface, with the commands that VS Code's cppdbg (MIEngine) sends for a
// launch.json of "request": "launch" and miDebuggerServerAddress.
type gdbMI struct{}

func (gdbMI) name() string { return gdbVersion() + " MI" }

func (gdbMI) start(ctx context.Context, m *machine) (driver, error) {
	gdb, err := session.StartMIEngine(ctx, m.kernel, session.IndexCache()...)
	if err != nil {
		return nil, err
	}
	d := &miDriver{machine: m, gdb: gdb, recipes: m.miRecipes()}
	_, err = d.send(ctx, fmt.Sprintf("-interpreter-exec console %q", session.NoIndexCache))
	return d, err
}

const (
	miProbe     = "-data-evaluate-expression jiffies"
	miContinue  = "-exec-continue"
	miInterrupt = "-exec-interrupt"
)

// miRecipes returns the commands that MIEngine sends for an action; it sends the input of its
// console with -interpreter-exec.
func (m *machine) miRecipes() map[string][]string {
	console := func(command string) string { return fmt.Sprintf("-interpreter-exec console %q", command) }
	evaluate := func(expression string) string { return fmt.Sprintf("-data-evaluate-expression %q", expression) }
	connect := "-target-select remote " + m.address()
	s := m.search
	first, last := m.code()
	return map[string][]string{
		attach:      {"-break-insert -f main", connect},
		relocated:   {evaluate("&init_task"), evaluate("vfs_read"), evaluate("linux_banner")},
		backtrace:   {"-stack-list-frames --thread 1 0 1000", "-stack-list-arguments --thread 1 0 0 20"},
		threads:     {"-thread-info"},
		printing:    {evaluate("init_task.comm")},
		disassembly: {fmt.Sprintf("-data-disassemble -s %#x -e %#x -- 2", first, last+1)},
		finding:     {console(fmt.Sprintf("find /g %#x, +%#x, %#x", s.start, s.length, s.word))},
		showCR3:     {console("info registers cr3")},
		setCR3: {console(fmt.Sprintf("set $cr3 = %#x", m.guest.Facts.ClockCR3)),
			evaluate(fmt.Sprintf("*(unsigned long *)%#x", m.clockVar)), console("monitor cr3 threads")},
		ofModule:   {evaluate("&oops_inner")},
		resume:     {miContinue, miProbe},
		step:       {"-exec-next --thread 1 --frame 0", miProbe},
		breakpoint: {"-break-insert -f vfs_read", miContinue, console("delete"), miProbe},
		setVar:     {evaluate("jiffies = 7"), miProbe},
		ctrlC:      {miContinue, miInterrupt, miProbe},
		unmapped:   {fmt.Sprintf("-data-read-memory-bytes %#x 8", uint64(unmappedVA)), miProbe},
		detach:     {"-target-detach"},
		reattach:   {connect},
		crowded:    {connect, "-thread-info"},
	}
}

// miDriver is a gdb that is driven through its machine interface.
type miDriver struct {
	*machine
	gdb     *session.MI
	recipes map[string][]string
	said    strings.Builder
}

func (d *miDriver) do(ctx context.Context, action string) (outcome, error) {
	var o outcome
	for _, command := range d.recipes[action] {
		step, err := d.send(ctx, command)
		o.text += step.Output + "\n"
		o.took += step.Took
		if err != nil {
			return o, err
		}
	}
	o.items = miItems(o.text)
	return o, nil
}

// send sends a command and waits for its result, or for the stop after a command that resumes the
// machine.
func (d *miDriver) send(ctx context.Context, command string) (session.Step, error) {
	do := d.gdb.Do
	if strings.HasPrefix(command, "-exec-") && command != miInterrupt {
		do = d.gdb.Run
	}
	step, err := do(ctx, command)
	fmt.Fprintf(&d.said, "%s\n%s\n\n", step.Command, step.Output)
	return step, err
}

func (d *miDriver) stop(ctx context.Context) (string, error) {
	err := d.gdb.Close(ctx)
	return d.said.String(), err
}

var (
	miFrame  = regexp.MustCompile(`frame=\{level="\d+",addr="0x[0-9a-f]+",func="([^"]+)"`)
	miThread = regexp.MustCompile(`target-id="Thread \d+\.(\d+)",(?:details="(?:[^"\\]|\\.)*",)?name="([^"]*)"`)
)

// miItems returns the threads or functions that gdb lists; a list of threads contains functions,
// too.
func miItems(text string) []string {
	var items []string
	for _, m := range miThread.FindAllStringSubmatch(text, -1) {
		items = append(items, m[1]+" "+m[2])
	}
	if items != nil {
		return items
	}
	for _, m := range miFrame.FindAllStringSubmatch(text, -1) {
		items = append(items, m[1])
	}
	return items
}
