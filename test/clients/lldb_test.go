package clients

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"physgdb/test/session"
)

// lldbCLI is lldb at its prompt.
type lldbCLI struct{}

func (lldbCLI) name() string { return lldbVersion() }

// lldbVersion returns the beginning of the first line of `lldb --version`, "lldb 14.0.6".
func lldbVersion() string {
	out, err := exec.Command("lldb-14", "--version").Output()
	if m := regexp.MustCompile(`lldb version (\S+)`).FindSubmatch(out); err == nil && m != nil {
		return "lldb " + string(m[1])
	}
	return "lldb"
}

func (lldbCLI) start(ctx context.Context, m *machine) (driver, error) {
	lldb, err := session.StartLLDB(ctx, m.kernel)
	if err != nil {
		return nil, err
	}
	return &lldbDriver{machine: m, lldb: lldb, recipes: m.lldbRecipes()}, nil
}

// lldbModule returns the command that adds a module to lldb's target.
func (m *machine) lldbModule() string { return "target modules add " + m.module }

// lldbSection returns the command that sets a module's address. lldb discards it when it detaches.
func (m *machine) lldbSection() string {
	where := fmt.Sprintf(".text %#x", m.guest.Facts.ModuleSections["trouble"][".text"])
	if m.made {
		where = "--slide 0"
	}
	return fmt.Sprintf("target modules load --file %s %s", filepath.Base(m.module), where)
}

// lldbProbe shows that the prompt works.
const lldbProbe = "p/x jiffies"

// lldbTargets shows the state of the process. lldb detaches asynchronously: the state may still be
// "stopped" when its prompt is back.
const lldbTargets = "target list"

// lldbRecipes returns the commands that a user types.
func (m *machine) lldbRecipes() map[string][]string {
	connect := "gdb-remote " + m.address()
	s := m.search
	return map[string][]string{
		attach:      {connect, m.lldbModule(), m.lldbSection(), "frame info"},
		relocated:   {"p &init_task", "p vfs_read", "x/s &linux_banner"},
		backtrace:   {"bt"},
		threads:     {"thread list"},
		printing:    {"p init_task.comm"},
		disassembly: {"x/20i vfs_read"},
		finding:     {fmt.Sprintf("memory find -e %#x -- %#x %#x", s.word, s.start, s.start+s.length)},
		showCR3:     {"register read cr3"},
		setCR3: {fmt.Sprintf("register write cr3 %#x", m.guest.Facts.ClockCR3), fmt.Sprintf("x/gx %#x", m.clockVar),
			"process plugin packet monitor cr3 threads"},
		ofModule:   {"disassemble -n oops_inner -c 1"}, // without debug information p does not know its type
		resume:     {"continue", lldbProbe},
		step:       {"next", lldbProbe},
		breakpoint: {"breakpoint set -n vfs_read", "continue", "breakpoint delete -f", lldbProbe},
		setVar:     {"p *(unsigned long *)&jiffies = 7", lldbProbe},
		ctrlC:      {"continue", lldbProbe},
		unmapped:   {fmt.Sprintf("x/gx %#x", uint64(unmappedVA)), lldbProbe},
		detach:     {"detach", lldbTargets},
		reattach:   {connect, m.lldbSection(), "frame info"},
		crowded:    {connect, "thread list"},
	}
}

// lldbDriver is an lldb at its prompt.
type lldbDriver struct {
	*machine
	lldb        *session.LLDB
	recipes     map[string][]string
	said        []session.Step
	interrupted bool
}

func (d *lldbDriver) do(_ context.Context, action string) (outcome, error) {
	var o outcome
	for i, command := range d.recipes[action] {
		step, err := d.lldb.Type(command)
		for deadline := time.Now().Add(5 * time.Second); err == nil && command == lldbTargets &&
			strings.Contains(step.Output, "state=stopped") && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
			step, err = d.lldb.Type(command)
		}
		d.said = append(d.said, step)
		o.text += step.Output + "\n"
		o.took += step.Took
		if action == ctrlC && i == 0 && err == nil {
			d.interrupted = true
			err = d.lldb.Interrupt()
		}
		if err != nil {
			return o, err
		}
	}
	o.items = lldbItems(o.text)
	return o, nil
}

// stop ends lldb. After an interrupt its exit status is not 0.
func (d *lldbDriver) stop(context.Context) (string, error) {
	err := d.lldb.Close()
	if d.interrupted {
		err = nil
	}
	return strings.ReplaceAll(session.Transcript(d.said), "(gdb) ", "(lldb) "), err
}

var (
	lldbFrame  = regexp.MustCompile("(?m)^[* ]+frame #\\d+: 0x[0-9a-f]+ [^`\n]+`(?:\\S+ \\[inlined\\] )?([\\w.]+)")
	lldbThread = regexp.MustCompile(`(?m)^[* ] thread #\d+: tid = (0x[0-9a-f]+), .*name = '([^']*)'`)
)

// lldbItems returns the functions or threads that lldb lists.
func lldbItems(text string) []string {
	var items []string
	for _, m := range lldbThread.FindAllStringSubmatch(text, -1) {
		tid, _ := strconv.ParseInt(m[1], 0, 64)
		items = append(items, fmt.Sprint(tid, " ", m[2]))
	}
	for _, m := range lldbFrame.FindAllStringSubmatch(text, -1) {
		items = append(items, m[1])
	}
	return items
}

// lldbAdapter is lldb's debug adapter, which later versions call lldb-dap.
type lldbAdapter struct{}

func (lldbAdapter) name() string { return strings.Replace(lldbVersion(), "lldb", "lldb-vscode", 1) }

func (lldbAdapter) start(_ context.Context, m *machine) (driver, error) {
	return &dapDriver{machine: m, adapterRecipes: m.vscodeRecipes()}, nil
}

// vscodeRecipes returns the requests that an editor sends to it. Lines that begin with a backquote
// are for lldb.
func (m *machine) vscodeRecipes() adapterRecipes {
	actions := dapActions()
	lldb := m.lldbRecipes()
	for _, action := range []string{printing, disassembly, finding, showCR3, setCR3, ofModule, setVar, unmapped} { // as at the prompt
		for _, command := range lldb[action] {
			actions[action] = append(actions[action], typed("`"+command))
		}
	}
	works := typed("`" + lldbProbe)
	for action, requests := range map[string][]request{
		relocated:  {evaluate("&init_task"), evaluate("vfs_read"), typed("`x/s &linux_banner")},
		resume:     {{dapContinue, nil}, works},
		step:       {{dapNext, nil}, works},
		breakpoint: {functionBreakpoints("vfs_read"), {dapContinue, nil}, functionBreakpoints(), works},
		ctrlC:      {works},
	} {
		actions[action] = requests
	}
	commands := []string{"target create " + m.kernel, "gdb-remote " + m.address()}
	if m.guest.Facts.OopsRIP != nil { // it died in the module
		commands = append(commands, m.lldbModule(), m.lldbSection())
	}
	return adapterRecipes{session.StartLLDBAdapter, args{"attachCommands": commands, "stopOnEntry": true}, actions}
}
