package gdbstub_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"

	"physgdb/gdbstub"
	"physgdb/gdbstub/tdesc"
)

// housing is a machine with programs, by their pids.
type housing struct {
	*able
	programs map[int]*program
}

func (h *housing) OpenProcess(_ context.Context, pid int) (gdbstub.Target, error) {
	p := h.programs[pid]
	if p == nil {
		return nil, fmt.Errorf("%d is no program", pid)
	}
	p.opened.Add(1)
	return p, nil
}

// program is one of them.
type program struct {
	*bare
	opened, closed atomic.Int32
}

func (p *program) Auxv(context.Context) ([]byte, error) { return []byte("auxv"), nil }

func (p *program) Description() *tdesc.Description {
	d := tdesc.AMD64()
	d.OSABI = "GNU/Linux"
	return d
}

func (p *program) Close() error {
	p.closed.Add(1)
	return nil
}

// newHousing has one program, number 57 in hexadecimal digits, with two threads.
func newHousing() *housing {
	own := &bare{
		threads:   []gdbstub.Thread{{ID: 0x57, Name: "clock"}, {ID: 0x58, Name: "clock"}},
		registers: map[gdbstub.ThreadID]gdbstub.Registers{0x57: {"rax": 0x57}, 0x58: {"rax": 0x58}},
		memory:    []region{{0x400000, []byte("program")}},
	}
	return &housing{newAble(), map[int]*program{0x57: {bare: own}}}
}

func TestProgramsAreAttachedToInAdditionToTheMachine(t *testing.T) {
	machine := newHousing()
	program := machine.programs[0x57]
	c := connect(t, machine)
	c.expect(gdb16, "PacketSize=20000;QStartNoAckMode+;vContSupported+;multiprocess+;binary-upload+;error-message+;"+
		"qXfer:auxv:read+;qXfer:features:read+;qXfer:libraries:read+;qXfer:osdata:read+;qXfer:threads:read+;qXfer:vmcoreinfo:read+")
	c.expect("!", "OK")
	c.expect("vAttach;58", "E.88 is no program")
	c.expect("vAttach;1", "T05thread:p1.1;")
	c.expect("qXfer:auxv:read::0,100", "l")
	c.expect("vAttach;57", "T05thread:p57.57;")
	c.expect("vAttach;57", "E.process 87 is attached to already")
	c.expect("qC", "QCp57.57")
	c.expect("m400000,7", hex.EncodeToString([]byte("program")))
	c.expect("qXfer:auxv:read::0,100", "lauxv")
	c.expectPart("qXfer:features:read:target.xml:0,1000", "<osabi>GNU/Linux</osabi>")
	c.expect("qfThreadInfo", "mp1.1,p1.2,p1.1f,p57.57,p57.58")
	c.expect("qsThreadInfo", "l")
	c.expectPart("qXfer:threads:read::0,1000", `<thread id="p57.58"`)
	c.expectPart("qXfer:threads:read::0,1000", `<thread id="p1.1f"`)

	c.expect("qXfer:libraries:read::0,100", "l")                        // it was offered, and this one has none
	c.expectPart("qXfer:osdata:read::0,100", "<osdata type=\"types\">") // the machine's, whichever is selected
	c.expectPart("qXfer:vmcoreinfo:read::0,100", "OSRELEASE")
	c.expect("qSymbol::", "OK")

	c.expect("Hgp57.58", "OK")
	c.expect("p0", "5800000000000000")
	c.expect("Hgp1.1", "OK")
	c.expect("p0", "8877665544332211")
	c.expect("m400000,7", "E14")
	c.expectPart("qXfer:features:read:target.xml:0,1000", "<osabi>none</osabi>")
	c.expect("Tp57.58", "OK")
	for _, stranger := range []string{"Tp57.1", "Tp58.58", "Tp1.57", "Hgp58.0", "Hgp57.1f"} {
		c.expect(stranger, "E01")
	}
	c.expect("Hgp57.-1", "OK")
	c.expect("qC", "QCp57.58")

	c.expect("D;57", "OK")
	c.expect("D;57", "E01")
	c.expect("qC", "QCp1.1")
	c.expect("vAttach;57", "T05thread:p57.57;")
	c.expect("D;1", "OK")
	c.expect("?", "T05thread:p57.57;")
	c.expect("vKill;57", "OK")
	c.expect("?", "W00")
	if opened, closed := program.opened.Load(), program.closed.Load(); opened != 2 || closed != 2 {
		t.Errorf("the program was opened %d times and closed %d times", opened, closed)
	}
}

// named is a machine that may have a main file, which its programs have not.
type named struct {
	*housing
	file string
}

func (n named) ExecutableFile(context.Context) (string, error) { return n.file, nil }

func TestNoExecutableIsAnErrorAndNotAnEmptyName(t *testing.T) {
	for file, want := range map[string]string{"/vmlinux": "l/vmlinux", "": "E00"} {
		c := connect(t, named{newHousing(), file})
		c.ask(gdb16)
		c.expect("qXfer:exec-file:read:1:0,100", want)
		c.expect("!", "OK")
		c.expect("vAttach;57", "T05thread:p57.57;")
		c.expect("qXfer:exec-file:read:57:0,100", "E00")
	}
}

func TestAProgramIsClosedWithItsConnection(t *testing.T) {
	machine := newHousing()
	c := connect(t, machine)
	c.ask(gdb13)
	c.expect("!", "OK")
	c.expect("vAttach;57", "T05thread:p57.57;")
	c.expect("k", "X09")
	c.expectEnd()
	if closed := machine.programs[0x57].closed.Load(); closed != 1 {
		t.Errorf("it was closed %d times", closed)
	}
}

func TestAClientThatKnowsOneProcessGetsNoOther(t *testing.T) {
	c := connect(t, newHousing())
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
	c.ask("qSupported:xmlRegisters=i386")
	c.expect("vAttach;57", "E01")
	c.expect("qfThreadInfo", "m1,2,1f")
}

// living is a machine that runs. One of its threads is another at each look.
type living struct {
	*bare
	looks int64
	err   error
}

func (l *living) Refresh(context.Context) error {
	l.looks++
	l.threads = []gdbstub.Thread{{ID: 1}, {ID: gdbstub.ThreadID(0x100 + l.looks)}}
	return l.err
}

func (l *living) WhyHalted() string { return "It runs." }

func TestLldbGetsAdviceAfterAStep(t *testing.T) {
	for target, want := range map[gdbstub.Target]string{
		&living{bare: newBare()}: "It runs.\nAt continue lldb resumes this step, unless you enter: thread plan discard 1\n",
		newAble():                "This kernel has panicked: it cannot run.\n",
	} {
		c := connect(t, target).asLLDB()
		c.expect("vCont;s:1", "O"+hexed(want))
	}
}

func TestAMachineThatRunsStopsAtCtrlC(t *testing.T) {
	const stop = "\x03"
	machine := &living{bare: newBare()}
	c := connect(t, machine)
	c.ask(gdb13)
	c.expect("qfThreadInfo", "mp1.1,p1.2,p1.1f")
	c.expect("Hgp1.1f", "OK")
	c.raw(stop) // nothing waits for it
	for look, resume := range []string{"c", "vCont;c", "vCont;c:p1.-1", "vCont;C05:p1.1f;c"} {
		c.send(resume)
		c.raw(stop)
		if got := c.receive(); got != "T02thread:p1.1;" {
			t.Errorf("%s: %q", resume, got)
		}
		c.expect("qfThreadInfo", fmt.Sprintf("mp1.1,p1.%x", 0x101+look))
		c.expect(fmt.Sprintf("Hgp1.%x", 0x101+look), "OK")
	}
	for _, step := range []string{"s", "vCont;s:p1.1;c", "vCont;s", "vCont;r0,1:p1.1;c"} {
		c.expect(step, "O"+hex.EncodeToString([]byte("It runs.\n")))
		if got := c.receive(); len(got) < 3 || got[:3] != "T02" {
			t.Errorf("%s: %q", step, got)
		}
	}

	machine.err = errBroken
	c.send("c")
	c.raw(stop)
	if got := c.receive(); got != "O"+hex.EncodeToString([]byte("the bridge is down\n")) {
		t.Errorf("got %q", got)
	}
	if got := c.receive(); got != "T02thread:p1.1;" {
		t.Errorf("got %q", got)
	}
}
