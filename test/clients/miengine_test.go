package clients

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"physgdb/test/session"
)

// engine is a gdb that is driven as by MIEngine.
type engine struct {
	t   *testing.T
	ctx context.Context
	gdb *session.MI
}

// startEngine starts gdb with MIEngine's first commands.
func startEngine(t *testing.T, vmlinux string) *engine {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, fmt.Errorf("gdb hangs"))
	t.Cleanup(cancel)
	gdb, err := session.StartMIEngine(ctx, vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	return &engine{t, ctx, gdb}
}

// do sends a command and returns the records up to its result.
func (e *engine) do(command string) session.Step {
	e.t.Helper()
	step, err := e.gdb.Do(e.ctx, command)
	if err != nil {
		e.t.Fatal(err)
	}
	return step
}

// run sends a command that resumes the machine. It must end within a second.
func (e *engine) run(command string) session.Step {
	e.t.Helper()
	step, err := e.gdb.Run(e.ctx, command)
	if err != nil {
		e.t.Fatal(err)
	}
	if step.Took > time.Second {
		e.t.Errorf("%s took %v", command, step.Took)
	}
	return step
}

// want checks that the records contain texts in this order.
func (e *engine) want(step session.Step, texts ...string) {
	e.t.Helper()
	rest := step.Output
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			e.t.Errorf("%s: no %q in this order in\n%.3000s", step.Command, text, step.Output)
			return
		}
		rest = after
	}
}

// never checks that the records do not contain a text.
func (e *engine) never(step session.Step, text string) {
	e.t.Helper()
	if strings.Contains(step.Output, text) {
		e.t.Errorf("%s: %q in\n%.3000s", step.Command, text, step.Output)
	}
}

// refused are the records that MIEngine must receive after a resume: a pause by SIGINT, which it
// shows, and not a stop without reason or frame, after which it would continue.
var refused = []string{"^running", "*running", "This machine is dead (panicked: ", `*stopped,reason="signal-received",signal-name="SIGINT"`,
	`frame={addr="0x`}

// aborted are the records that MIEngine must receive when a breakpoint cannot be inserted.
var aborted = []string{"^running", "*running", `^error,msg="Command aborted."`}

// connect connects as a launch does and checks the first stop, which has no reason.
func (e *engine) connect(address string) {
	e.t.Helper()
	e.want(e.do("-target-select remote "+address), `*stopped,frame={addr="0x`, "^connected")
}

// reconnect connects again in the same gdb, which then reports the signal of the T packet as the
// reason of the stop: a pause for MIEngine.
func (e *engine) reconnect(address string) {
	e.t.Helper()
	e.want(e.do("-target-select remote "+address), `*stopped,reason="signal-received",signal-name="SIGTRAP"`, `frame={addr="0x`,
		"^connected")
}

// looks checks threads and frames, and returns the level of the frame of vfs_write.
func (e *engine) looks() string {
	e.t.Helper()
	e.want(e.do("-thread-info"), `^done,threads=[{id="1"`, `details="panicked: `, `frame={level="0"`)
	step := e.do("-stack-list-frames --thread 1 0 1000")
	e.want(step, `^done,stack=[frame={level="0"`, `func="oops_inner"`, `func="oops_outer"`, `func="do_syscall_64"`)
	level := regexp.MustCompile(`level="(\d+)",addr="0x[0-9a-f]+",func="vfs_write"`).FindStringSubmatch(step.Output)
	if level == nil {
		e.t.Fatalf("no vfs_write in\n%s", step.Output)
	}
	return level[1]
}

// works checks that gdb still answers: it reads a value that does not change.
func (e *engine) works(r *rig) {
	e.t.Helper()
	e.want(e.do(miProbe), fmt.Sprintf(`^done,value="%d"`, r.truth.jiffies))
}

// TestMIEngine sends the commands of VS Code's cppdbg for launch and attach sessions and for
// actions of the user.
func TestMIEngine(t *testing.T) {
	r := ready(t)
	address := r.serve(t, r.dead, debugFiles)
	t.Run("launch", func(t *testing.T) { launched(t, r, address) })
	t.Run("attach", func(t *testing.T) { attached(t, r, address) })
	t.Run("kill", func(t *testing.T) { killed(t, r, address) })
}

func launched(t *testing.T, r *rig, address string) {
	e := startEngine(t, r.dead.Kernel.Vmlinux)
	e.do("-break-insert -f main") // the kernel has none; MIEngine continues
	e.connect(address)
	vfsWrite := e.looks()

	e.want(e.run(miContinue), refused...)
	for _, command := range []string{"-exec-step-instruction", "-exec-next", "-exec-step"} {
		e.want(e.run(command+" --thread 1 --frame 0"), refused...)
	}

	e.want(e.do("-break-insert -f panic"), "^done,bkpt={number=\"2\"")
	e.want(e.run(miContinue), aborted...)
	e.want(e.do("-break-delete 2"), "^done")
	e.want(e.run(miContinue), refused...)
	e.want(e.run("-exec-finish --thread 1 --frame "+vfsWrite), aborted...)
	// gdb treats a refused breakpoint in a module as one in an unloaded library, and continues
	// without it.
	e.want(e.run("-exec-finish --thread 1 --frame 0"), refused...)

	e.want(e.do(miInterrupt), "^done")
	e.works(r)
	e.want(e.do("-data-list-register-values --thread 1 x 24"), `^done,register-values=[{number="24",value="<unavailable>"}]`)
	e.want(e.do(fmt.Sprintf("-data-read-memory-bytes %#x 8", uint64(unmappedVA))), `^error,msg="Unable to read memory."`)

	e.want(e.do("-target-detach"), "^done")
	e.reconnect(address)
	e.works(r)
	e.end()
}

func attached(t *testing.T, r *rig, address string) {
	e := startEngine(t, r.dead.Kernel.Vmlinux)
	e.want(e.do("-target-select extended-remote "+address), "^connected")
	step := e.run("-target-attach 1")
	e.want(step, "^done", `*stopped,frame={addr="0x`)
	e.never(step, "=thread-group-exited")
	e.looks()
	for range 2 { // MIEngine always resumes the process after an attach
		step = e.run(miContinue)
		e.want(step, refused...)
		e.never(step, "=thread-group-exited")
	}
	e.works(r)
	e.want(e.do("-target-detach"), "=thread-group-exited", "^done")
	e.end()
}

func killed(t *testing.T, r *rig, address string) {
	e := startEngine(t, r.dead.Kernel.Vmlinux)
	e.connect(address)
	e.want(e.do(`-interpreter-exec console "kill"`), "=thread-group-exited", "^done")
	e.connect(address)
	e.works(r)
	e.end()
}

// end ends gdb.
func (e *engine) end() {
	e.t.Helper()
	if err := e.gdb.Close(e.ctx); err != nil {
		e.t.Error(err)
	}
}
