package gdbstub_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

func TestClientsHaveTargetsOfTheirOwn(t *testing.T) {
	var opened atomic.Int32
	addr := serve(t, func(context.Context) (gdbstub.Target, error) {
		opened.Add(1)
		return newAble(), nil
	}, nil)
	a, b := dial(t, addr), dial(t, addr)
	a.expect("P2c=0050000000000000", "OK")
	a.expect("p2c", "0050000000000000")
	b.expect("p2c", "0010000000000000")
	if n := opened.Load(); n != 2 {
		t.Errorf("%d targets opened", n)
	}
}

func TestReconnect(t *testing.T) {
	addr := serve(t, open(newAble()), &gdbstub.Options{MaxClients: 1})
	for range 50 {
		c := dial(t, addr)
		c.expect("?", "T05thread:1;")
		c.expect("D", "OK")
		c.expectEnd()
	}
}

func TestTheTargetIsClosedAfterTheSession(t *testing.T) {
	target := newAble()
	here, there := net.Pipe()
	ended := make(chan error)
	go func() { ended <- gdbstub.NewServer(open(target), nil).Serve(context.Background(), there) }()
	here.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if !target.closed.Load() {
		t.Error("the target was not closed")
	}
}

// expectRefusal plays the start of gdb and fails the test unless the reply has the reason.
func expectRefusal(t *testing.T, addr, why string) {
	t.Helper()
	c := dial(t, addr)
	c.expect(gdb13, "")
	if got := c.ask("vMustReplyEmpty"); !strings.Contains(got, why) {
		t.Errorf("refused with %q", got)
	}
	c.expect("?", "E01")
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
	c.expect("qC", "")
}

// TestClientIsRefusedIfAllAreBusy: a client that waits for an answer is not idle, and keeps its
// place.
func TestClientIsRefusedIfAllAreBusy(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	addr := serve(t, open(&stubborn{able: newAble(), hang: hang}), &gdbstub.Options{MaxClients: 1, Deadline: 2 * time.Second})
	first := dial(t, addr)
	first.expect("qAttached", "1")
	first.send("m0,1")
	expectRefusal(t, addr, "1 clients are connected and busy")
	if got := first.receive(); got != "E14" {
		t.Errorf("the first client got %q", got)
	}
}

func TestTheIdlestClientMakesRoom(t *testing.T) {
	addr := serve(t, open(newAble()), &gdbstub.Options{MaxClients: 3, Deadline: time.Second})
	all := []*client{dial(t, addr), dial(t, addr), dial(t, addr)}
	for _, i := range []int{0, 1, 2, 0} {
		all[i].expect("qAttached", "1")
		time.Sleep(5 * time.Millisecond)
	}
	dial(t, addr).expect("qAttached", "1")
	all[1].expectEnd()
	all[0].expect("qAttached", "1")
	dial(t, addr).expect("qAttached", "1")
	all[2].expectEnd()
	all[0].expect("qAttached", "1")
}

// TestIdleClientsMakeRoom has more idle clients than places, of every kind of idleness: they
// have said nothing, begun a packet, asked something, or let a machine run.
func TestIdleClientsMakeRoom(t *testing.T) {
	addr := serve(t, open(newAble()), &gdbstub.Options{MaxClients: 8, Deadline: 400 * time.Millisecond})
	for i := range 32 {
		c := dial(t, addr)
		c.raw([]string{"", "$qAtt", "+$qAttached#8f", "+$vCont;c#a8"}[i%4])
		time.Sleep(10 * time.Millisecond)
	}
	for range 5 {
		start := time.Now()
		var got string
		for got == "" { // a flood is dropped unheard
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(gdbPatience))
			wire := rsp.NewConn(conn, 0)
			if wire.Write([]byte("qAttached")) == nil {
				if _, payload, err := wire.Read(); err == nil {
					got = string(payload)
				}
			}
			defer conn.Close()
		}
		if took := time.Since(start); got != "1" || took > 3*time.Second {
			t.Errorf("answered %q after %v", got, took)
		}
	}
}

// tongueTied cannot say what it is.
type tongueTied struct{ *bare }

func (tongueTied) WhyHalted() string { panic(errBroken) }

func TestClientGetsReasonForNoTarget(t *testing.T) {
	for name, opener := range map[string]gdbstub.Opener{
		"an error":       func(context.Context) (gdbstub.Target, error) { return nil, errBroken },
		"nothing at all": func(context.Context) (gdbstub.Target, error) { return nil, nil },
		"a fault":        func(context.Context) (gdbstub.Target, error) { panic(errBroken) },
		"a later fault":  func(context.Context) (gdbstub.Target, error) { return tongueTied{newBare()}, nil },
		"no answer": func(ctx context.Context) (gdbstub.Target, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"no answer and no regard for the context": func(context.Context) (gdbstub.Target, error) {
			time.Sleep(500 * time.Millisecond)
			return newAble(), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, opener, &gdbstub.Options{Deadline: 200 * time.Millisecond})
			expectRefusal(t, addr, "E.open target: ")
		})
	}
	time.Sleep(500 * time.Millisecond) // the late opener ends
}

func TestSilentClientsDoNotHoldTheServer(t *testing.T) {
	addr := serve(t, open(newAble()), nil)
	for range 5 {
		dial(t, addr)
	}
	dial(t, addr).expect("qAttached", "1")
	// The end of the test ends the server while they are still silent.
}

func TestAClientThatVanishesMidReply(t *testing.T) {
	target := newBare()
	target.memory = []region{{0, make([]byte, 1<<20)}}
	addr := serve(t, open(target), nil)
	for range 20 {
		c := dial(t, addr)
		for range 20 {
			c.send("m0,10000")
		}
		if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil { // go without a goodbye
			t.Fatal(err)
		}
		c.conn.Close()
	}
}

func TestClientThatDoesNotReadIsDisconnected(t *testing.T) {
	target := newBare()
	target.memory = []region{{0, make([]byte, 1<<20)}}
	here, there := net.Pipe() // has no buffer
	ended := make(chan error)
	o := &gdbstub.Options{WriteTimeout: 50 * time.Millisecond}
	go func() { ended <- gdbstub.NewServer(open(target), o).Serve(context.Background(), there) }()
	if _, err := io.WriteString(here, "$m0,10000#ba"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, there := net.Pipe()
	ended := make(chan error)
	go func() { ended <- gdbstub.NewServer(open(newAble()), nil).Serve(ctx, there) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(gdbPatience):
		t.Fatal("Serve goes on")
	}
}

// TestAnIdleSessionThatIsEndedHasNotFailed: a stub that is stopped logs no failure for each client.
func TestAnIdleSessionThatIsEndedHasNotFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	here, there := net.Pipe()
	defer here.Close()
	ended := make(chan error, 1)
	go func() { ended <- gdbstub.NewServer(open(newAble()), nil).Serve(ctx, there) }()
	if _, err := here.Write([]byte("$qAttached#8f")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(here, make([]byte, len("+$1#31"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// stubborn is a machine whose calls can be made to hang.
type stubborn struct {
	*able
	hang  chan struct{} // a read of address 0 lasts until this is closed
	minds bool          // reads end with their context
	reads atomic.Int32
}

func (s *stubborn) ReadMemory(ctx context.Context, id gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	s.reads.Add(1)
	if addr != 0 {
		return s.able.ReadMemory(ctx, id, addr, p)
	}
	p[0] = 0x11
	if s.minds {
		<-ctx.Done()
		return 1, ctx.Err()
	}
	<-s.hang
	for i := range p {
		p[i] = 0xee // late data: must not be sent
	}
	return len(p), nil
}

func (s *stubborn) Monitor(_ context.Context, w io.Writer, _ string) error {
	fmt.Fprintln(w, "begun")
	<-s.hang
	_, err := fmt.Fprintln(w, "late")
	return err
}

func newStubborn(t *testing.T) (*stubborn, *client) {
	s := &stubborn{able: newAble(), hang: make(chan struct{})}
	return s, dial(t, serve(t, open(s), &gdbstub.Options{Deadline: 200 * time.Millisecond}))
}

// within fails the test if f takes longer than a deadline and some.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > limit {
		t.Errorf("took %v, more than %v", took, limit)
	}
}

func TestCallThatRespectsItsContextReturnsItsGoodPart(t *testing.T) {
	s := &stubborn{able: newAble(), minds: true}
	c := dial(t, serve(t, open(s), &gdbstub.Options{Deadline: time.Second})) // 125 ms to hand the good part over
	c.expect("m0,40", "11")
	c.expect("mffffffff9d000001,1", "01")
}

func TestALateCallIsAnsweredInTimeAndItsDataAreDropped(t *testing.T) {
	s, c := newStubborn(t)
	for range 3 { // the second and third find the worker busy
		within(t, 2*time.Second, func() { c.expect("m0,40", "E14") })
	}
	c.expect("g", "E.no answer within 200ms")
	c.expect("qAttached", "1") // needs no target
	c.send("c")                // nor does this
	c.receive()
	if got := c.receive(); got != "T02thread:1;" {
		t.Errorf("c is answered %q", got)
	}
	if n := s.reads.Load(); n != 1 {
		t.Errorf("%d reads reached the target", n)
	}
	close(s.hang)
	c.expect("mffffffff9d000001,2", "0102")
}

func TestALateMonitorCommandShowsWhatItHas(t *testing.T) {
	s, c := newStubborn(t)
	c.expect("qRcmd,00", "O"+hex.EncodeToString([]byte("begun\nno answer within 200ms\n")))
	if got := c.receive(); got != "OK" {
		t.Errorf("got %q", got)
	}
	close(s.hang)
	c.expect("qAttached", "1")
}

func TestALateCallDoesNotHoldTheEndOfTheSession(t *testing.T) {
	s := &stubborn{able: newAble(), hang: make(chan struct{})}
	here, there := net.Pipe()
	ended := make(chan error)
	o := &gdbstub.Options{Deadline: 100 * time.Millisecond}
	go func() { ended <- gdbstub.NewServer(open(s), o).Serve(context.Background(), there) }()
	go func() { _, _ = io.Copy(io.Discard, here) }() // ends with the connection
	if _, err := io.WriteString(here, "$m0,40#2d"); err != nil {
		t.Fatal(err)
	}
	for s.reads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	here.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "a call is still running") {
		t.Errorf("Serve: %v", err)
	}
	if s.closed.Load() {
		t.Error("closed during a call")
	}
	close(s.hang)
	for !s.closed.Load() { // by the call's own goroutine, which then ends
		time.Sleep(time.Millisecond)
	}
}
