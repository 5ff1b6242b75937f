package gdbstub_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"physgdb/gdbstub"
)

// talker is a machine whose monitor commands write output all the time, until they are asked to end
// or stopped.
type talker struct {
	*able
	end     chan struct{}
	stopped chan error // receives why a command was stopped
}

func (t *talker) Monitor(ctx context.Context, w io.Writer, line string) error {
	for {
		fmt.Fprintln(w, "still", line)
		select {
		case <-t.end:
			return nil
		case <-ctx.Done():
			t.stopped <- context.Cause(ctx)
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// newTalker connects a client in no-ack mode, in which gdb is.
func newTalker(t *testing.T) (*talker, *client) {
	t.Parallel()
	target := &talker{newAble(), make(chan struct{}), make(chan error, 1)}
	c := dial(t, serve(t, open(target), &gdbstub.Options{Deadline: time.Second}))
	return target, c
}

func (c *client) startNoAck() {
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
}

// console returns what an O packet or a last reply shows.
func (c *client) console(packet string) string {
	c.t.Helper()
	text, err := hex.DecodeString(strings.TrimPrefix(packet, "O"))
	if err != nil {
		c.t.Fatalf("%.100q shows no text: %v", packet, err)
	}
	return string(text)
}

// quiet fails the test if the server sends anything for a while.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	p := make([]byte, 100)
	if n, err := c.conn.Read(p); n > 0 || err == nil {
		c.t.Errorf("the server sends %q", p[:n])
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(gdbPatience)); err != nil {
		c.t.Fatal(err)
	}
}

func TestGdbThatGaveACommandUpIsServedInStep(t *testing.T) {
	target, c := newTalker(t)
	c.ask(gdb13)
	c.startNoAck()
	c.send("qRcmd,6f6e") // "on"
	if said := c.console(c.receive()); strings.Count(said, "still on\n") < 10 {
		t.Errorf("shows %q", said)
	}
	c.quiet(5 * time.Second) // gdb has got Ctrl-C, and sits at its prompt
	c.expect("qAttached", "1")
	if why := <-target.stopped; !strings.Contains(why.Error(), "no longer waits") {
		t.Errorf("stopped because: %v", why)
	}
	c.expect("mffffffff9d000001,2", "0102")
}

func TestGdbThatWaitsSeesTheCommandToItsEnd(t *testing.T) {
	target, c := newTalker(t)
	c.ask(gdb13)
	c.startNoAck()
	c.send("qRcmd,6f6e")
	c.receive()
	time.Sleep(50 * time.Millisecond) // it goes on
	close(target.end)                 // the answer is ready, and gdb may be gone
	c.quiet(time.Second)
	c.raw("-") // it is not
	if reply := c.receive(); reply[0] == 'O' || !strings.HasPrefix(c.console(reply), "still on\n") {
		t.Errorf("ends with %q", reply)
	}
	c.expect("qAttached", "1")
}

func TestLldbSeesTheCommandAsItGoesOn(t *testing.T) {
	target, c := newTalker(t)
	c.startNoAck() // before qSupported: this is lldb
	c.send("qRcmd,6f6e")
	for range 3 {
		if said := c.console(c.receive()); !strings.HasPrefix(said, "still on\n") {
			t.Errorf("shows %q", said)
		}
	}
	close(target.end)
	for reply := c.receive(); reply != "OK"; reply = c.receive() {
		c.console(reply)
	}
	c.expect("qAttached", "1")
}

func TestTheInterruptByteStopsACommand(t *testing.T) {
	target, c := newTalker(t)
	c.startNoAck()
	c.send("qRcmd,6f6e")
	c.receive()
	time.Sleep(50 * time.Millisecond) // it goes on
	c.raw("\x03")
	said := ""
	for reply := c.receive(); reply != "OK"; reply = c.receive() {
		said += c.console(reply)
	}
	if !strings.HasSuffix(said, "still on\ninterrupted\n") {
		t.Errorf("shows %q", said)
	}
	<-target.stopped
	c.expect("qAttached", "1")
}

func TestAClientThatGoesAwayStopsItsCommand(t *testing.T) {
	target := &talker{newAble(), make(chan struct{}), make(chan error, 1)}
	here, there := net.Pipe()
	ended := make(chan error)
	go func() { ended <- gdbstub.NewServer(open(target), nil).Serve(context.Background(), there) }()
	if _, err := io.WriteString(here, "$qRcmd,6f6e#5a"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(here, make([]byte, 1)); err != nil { // '+': the command has come
		t.Fatal(err)
	}
	here.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-target.stopped
	if !target.closed.Load() {
		t.Error("the target was not closed")
	}
}
