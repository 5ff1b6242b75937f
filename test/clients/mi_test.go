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
	gdb, err := session.StartMI(ctx, session.IndexCache()...)
	if err != nil {
		return nil, err
	}
	d := &miDriver{machine: m, gdb: gdb, recipes: m.miRecipes()}
	noCache := fmt.Sprintf("-interpreter-exec console %q", session.NoIndexCache)
	for _, command := range append(miStart(m.kernel), noCache) {
		if _, err := d.send(ctx, command); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// miStart are MIEngine's first commands.
func miStart(vmlinux string) []string {
	return []string{
		"-gdb-set mi-async on",
		`-interpreter-exec console "set pagination off"`,
		`-interpreter-exec console "set debuginfod enabled off"`,
		"-gdb-set auto-solib-add on",
		"-file-exec-and-symbols " + vmlinux,
		`-interpreter-exec console "show architecture"`,
	}
}

const (
	miProbe     = "-data-evaluate-expression jiffies"
	miContinue  = "-exec-continue"
	miInterrupt = "-exec-interrupt"
)

// miRecipes are what MIEngine sends when a person does something; what is typed into its console
// goes through -interpreter-exec.
func (m *machine) miRecipes() map[string]recipe {
	console := func(command string) string { return fmt.Sprintf("-interpreter-exec console %q", command) }
	evaluate := func(expression string) string { return fmt.Sprintf("-data-evaluate-expression %q", expression) }
	connect := only("-target-select remote " + m.address())
	var scopes []string
	for _, command := range m.scopes() {
		scopes = append(scopes, console(command))
	}
	s := m.search
	first, last := m.code()
	return map[string]recipe{
		attach:    {with: []string{"-break-insert -f main", "-target-select remote " + m.address()}},
		relocated: both(evaluate("&init_task"), evaluate("vfs_read"), evaluate("linux_banner")),
		backtrace: {
			with:  []string{"-stack-list-frames --thread 1 0 1000", "-stack-list-arguments --thread 1 0 0 20"},
			alone: scopes,
		},
		threads:     only("-thread-info"),
		printing:    both(evaluate("init_task.comm")),
		disassembly: both(fmt.Sprintf("-data-disassemble -s %#x -e %#x -- 2", m.at(first), m.at(last)+1)),
		finding:     both(console(fmt.Sprintf("find /g %#x, +%#x, %#x", m.at(s.start), s.length, s.word))),
		showCR3:     only(console("info registers cr3")),
		setCR3: only(console(fmt.Sprintf("set $cr3 = %#x", m.guest.Facts.ClockCR3)),
			evaluate(fmt.Sprintf("*(unsigned long *)%#x", m.clockVar)), console("monitor cr3 threads")),
		ofModule:   only(evaluate("&oops_inner")),
		resume:     only(miContinue, miProbe),
		step:       only("-exec-next --thread 1 --frame 0", miProbe),
		breakpoint: only("-break-insert -f vfs_read", miContinue, console("delete"), miProbe),
		setVar:     only(evaluate("jiffies = 7"), miProbe),
		ctrlC:      only(miContinue, miInterrupt, miProbe),
		unmapped:   only(fmt.Sprintf("-data-read-memory-bytes %#x 8", uint64(unmappedVA)), miProbe),
		detach:     only("-target-detach"),
		reattach:   connect,
		crowded:    only("-target-select remote "+m.address(), "-thread-info"),
	}
}

// miDriver is a gdb that is spoken to in its machine interface.
type miDriver struct {
	*machine
	gdb     *session.MI
	recipes map[string]recipe
	said    strings.Builder
}

func (d *miDriver) do(ctx context.Context, action string) (outcome, error) {
	var o outcome
	for _, command := range d.commands(d.recipes[action]) {
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

// send sends a command and waits for its end; for one that lets the machine run, until it has
// stopped.
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

// miItems are the threads or functions that gdb lists; a list of threads tells functions, too.
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
