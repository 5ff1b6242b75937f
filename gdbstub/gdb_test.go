package gdbstub_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/test/session"
)

// gdbPatience is how long a run of gdb may take on a busy machine. A longer run counts as a hang.
const gdbPatience = 60 * time.Second

// gdb runs commands in one gdb and returns all that it printed.
func gdb(t testing.TB, commands ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	defer cancel()
	steps, err := session.GDB(ctx, "", append([]string{"set debuginfod enabled off"}, commands...)...)
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for _, step := range steps {
		printed.WriteString(step.Output + "\n")
	}
	t.Logf("gdb %s\n%s", strings.Join(commands, "; "), printed.String())
	return printed.String()
}

func TestGdbSeesTheMachine(t *testing.T) {
	kernel := buildKernel(t)
	target := newKernel(t, kernel)
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(target), nil), "bt", "info threads", "p counter",
		"x/s &linux_banner", "p $cr0", "p $rax", "p $st0", "x/2gx 0xffffc90000000ff8", "monitor hello", "set $cr3=0x5000",
		"p/x $cr3", "maint packet qXfer:features:read:none:0,1")
	for _, want := range []string{
		"#0  inner (n=0)", "#1  0xffffffff", "in outer (n=0)", "in _start ()",
		`Thread 1.1 "swapper/0" (CPU 0 idle)`, `Thread 1.2 "bash" (pid 77)`, "$1 = 42", "Linux version 0.0-synthetic",
		"[ PE MP ET NE WP AM PG ]", "$3 = <unavailable>", "$4 = <unavailable>", "hello, user", "$5 = 0x5000",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
	if got := *target.borrowed.Load(); got["linux_banner"] != text+0x2000 {
		t.Errorf("borrowed %#x", got)
	}
}

// sentences are what gdb 13 says to each action that a dead machine refuses.
var sentences = map[string]string{
	"continue":          "This kernel has panicked: it cannot run.",
	"stepi":             "This kernel has panicked: it cannot run.",
	"nexti":             "This kernel has panicked: it cannot run.",
	"step":              "This kernel has panicked: it cannot run.",
	"next":              "This kernel has panicked: it cannot run.",
	"until":             "This kernel has panicked: it cannot run.",
	"signal SIGINT":     "This kernel has panicked: it cannot run.",
	"finish":            "Command aborted.",
	"advance in_start":  "Command aborted.",
	"set var counter=7": "Cannot access memory at address",
	"call outer(3)":     "Cannot access memory at address",
	"set $rax=7":        "rax of a dead machine cannot be set, only cr3",
	"return":            "rbp of a dead machine cannot be set, only cr3",
	"jump outer":        "rip of a dead machine cannot be set, only cr3",
	"run":               "does not support \"run\"",
}

func TestGdbIsBackAtItsPromptAfterEachRefusal(t *testing.T) {
	kernel := buildKernel(t)
	addr := serve(t, open(newKernel(t, kernel)), nil)
	for action, want := range sentences {
		out := gdb(t, "file "+kernel, "target remote "+addr, action, "echo prompt\\n", "p counter")
		_, after, _ := strings.Cut(out, want)
		if !strings.Contains(after, "prompt\n$1 = 42") {
			t.Errorf("%s: gdb does not say %q and go on", action, want)
		}
		if n := strings.Count(out, want); n > 1 {
			t.Errorf("%s: gdb says so %d times", action, n)
		}
	}
}

func TestGdbWithNostopForSIGINTStops(t *testing.T) {
	kernel := buildKernel(t)
	addr := serve(t, open(newKernel(t, kernel)), nil)
	for _, action := range []string{"continue", "stepi", "next"} {
		out := gdb(t, "file "+kernel, "target remote "+addr, "handle SIGINT nostop noprint", action, "p counter")
		_, after, _ := strings.Cut(out, "received signal SIGABRT")
		if !strings.Contains(after, "$1 = 42") {
			t.Errorf("%s: gdb does not stop and go on", action)
		}
	}
}

func TestGdbBreakpointsAreRefusedAtTheNextResume(t *testing.T) {
	kernel := buildKernel(t)
	addr := serve(t, open(newKernel(t, kernel)), nil)
	for _, point := range []string{"break outer", "hbreak outer", "watch counter"} {
		out := gdb(t, "file "+kernel, "target remote "+addr, point, "continue", "delete", "continue", "p counter")
		_, after, _ := strings.Cut(out, "Command aborted.")
		if !strings.Contains(after, "it cannot run") || !strings.Contains(after, "$1 = 42") {
			t.Errorf("%s: gdb does not go on", point)
		}
	}
}

func TestGdbLeavesAndTheNextIsServed(t *testing.T) {
	kernel := buildKernel(t)
	addr := serve(t, open(newKernel(t, kernel)), nil)
	for leave, want := range map[string]string{
		"detach": "detached]", "kill": "killed]", "disconnect": "", "echo the end of gdb's input": "",
	} {
		if out := gdb(t, "file "+kernel, "target remote "+addr, "p counter", leave); !strings.Contains(out, want) {
			t.Errorf("%s: gdb does not say %q", leave, want)
		}
	}
	out := gdb(t, "file "+kernel, "target remote "+addr, "detach", "target remote "+addr, "p counter")
	if !strings.Contains(out, "$1 = 42") {
		t.Error("the same gdb cannot connect again")
	}
}

func TestGdbExtendedRemoteAttaches(t *testing.T) {
	kernel := buildKernel(t)
	out := gdb(t, "file "+kernel, "target extended-remote "+serve(t, open(newKernel(t, kernel)), nil), "info threads",
		"attach 1", "bt", "continue", "detach", "attach 5", "attach 1", "kill", "attach 1", "run", "attach 1", "p counter")
	for _, want := range []string{"No threads.", "in outer (n=0)", "it cannot run", "Attaching to process 5 failed",
		"killed]", "Running the default executable on the remote target failed", "$1 = 42"} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
}

func TestGdbSurvivesCtrlC(t *testing.T) {
	kernel := buildKernel(t)
	target := newKernel(t, kernel)
	addr := serve(t, open(target), nil)
	g := startMI(t, kernel)
	g.until("1-gdb-set mi-async on", "1^done")
	g.until("2-target-select remote "+addr, "2^connected")
	g.until("3-exec-continue", "*stopped,reason=\"signal-received\",signal-name=\"SIGINT\"")
	g.until("4-exec-interrupt", "4^done") // sends the interrupt byte though nothing runs
	for i := range 3 {
		if err := g.Interrupt(); err != nil {
			t.Fatal(err)
		}
		g.until(fmt.Sprintf("%d-data-evaluate-expression counter", 10+i), fmt.Sprintf("%d^done,value=\"42\"", 10+i))
	}
	g.until("20-exec-next", "*stopped,reason=\"signal-received\"")
	g.until("21-target-detach", "21^done")
	g.until("22-target-select remote "+addr, "22^connected")
	g.end()
}

func TestTwoGdbsAtOnce(t *testing.T) {
	kernel := buildKernel(t)
	addr := serve(t, func(context.Context) (gdbstub.Target, error) { return newKernel(t, kernel), nil }, nil)
	var both sync.WaitGroup
	for _, root := range []string{"0x5000", "0x6000"} {
		both.Go(func() {
			out := gdb(t, "file "+kernel, "target remote "+addr, "set $cr3="+root, "shell sleep 0.3", "p counter",
				"flushregs", "p/x $cr3")
			if !strings.Contains(out, "$1 = 42") || !strings.Contains(out, "$2 = "+root) {
				t.Errorf("gdb is disturbed by the other: %s", out)
			}
		})
	}
	both.Wait()
}

func TestGdbShowsWhyItIsNotServed(t *testing.T) {
	addr := serve(t, func(context.Context) (gdbstub.Target, error) { return nil, errBroken }, nil)
	if out := gdb(t, "target remote "+addr); !strings.Contains(out, "open target: the bridge is down") {
		t.Error("gdb does not say why")
	}
}
