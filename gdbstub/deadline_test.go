package gdbstub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// quick are limits that a test can wait for.
var quick = gdbstub.Options{
	HelloTimeout: 200 * time.Millisecond, PacketTimeout: 200 * time.Millisecond, IdleTimeout: 600 * time.Millisecond,
}

func TestStalledClientsAreDisconnected(t *testing.T) {
	const hello = "$?#3f"
	for name, c := range map[string]struct {
		begin, again string // what is sent at once, and then every 20 ms
		why          string
		after        time.Duration // at the earliest
	}{
		"says nothing":                        {"", "", "no first request came for 200ms", quick.HelloTimeout},
		"only acknowledges":                   {"", "+", "no first request came for 200ms", quick.HelloTimeout},
		"spells its first packet":             {"$q", "a", "no first request came for 200ms", quick.HelloTimeout},
		"begins a packet":                     {hello + "$m0", "", "a packet that was begun did not end for 200ms", quick.PacketTimeout},
		"spells a packet":                     {hello + "$m", "0", "a packet that was begun did not end for 200ms", quick.PacketTimeout},
		"begins a packet again and again":     {hello, "$m", "a packet that was begun did not end for 200ms", quick.PacketTimeout},
		"sends half a checksum":               {hello + "$?#3", "", "a packet that was begun did not end for 200ms", quick.PacketTimeout},
		"is idle":                             {hello, "", "no request came for 600ms", quick.IdleTimeout},
		"is idle, but for acknowledgements":   {hello, "+", "no request came for 600ms", quick.IdleTimeout},
		"is idle, but for a Ctrl-C":           {hello, "\x03", "no request came for 600ms", quick.IdleTimeout},
		"asks for its packet again and again": {hello, "-", "no acknowledgement after 8 retransmissions", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := net.Pipe()
			ended := make(chan error, 1)
			begin := time.Now()
			o := quick
			go func() { ended <- gdbstub.NewServer(open(newBare()), &o).Serve(context.Background(), there) }()
			go func() { _, _ = io.Copy(io.Discard, here) }() // ends with the connection
			go func() {
				_, err := io.WriteString(here, c.begin)
				for err == nil && c.again != "" {
					time.Sleep(20 * time.Millisecond)
					_, err = io.WriteString(here, c.again)
				}
			}()
			defer here.Close()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("ended by %v, want %q", err, c.why)
				}
				if took := time.Since(begin); took < c.after {
					t.Errorf("ended after %v", took)
				}
			case <-time.After(gdbPatience):
				t.Error("still served")
			}
		})
	}
}

func TestABusyClientIsKept(t *testing.T) {
	o := quick
	c := dial(t, serve(t, open(newBare()), &o))
	for range 20 { // longer than any of the limits
		c.expect("qAttached", "1")
		time.Sleep(quick.IdleTimeout / 12)
	}
}

// withoutDeadlines is a connection made of files, say.
type withoutDeadlines struct{ net.Conn }

func (withoutDeadlines) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (withoutDeadlines) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (withoutDeadlines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

func TestAConnectionWithoutDeadlines(t *testing.T) {
	for name, opener := range map[string]gdbstub.Opener{
		"is served":  open(newBare()),
		"is refused": func(context.Context) (gdbstub.Target, error) { return nil, errBroken },
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			ended := make(chan error, 1)
			o := gdbstub.Options{Deadline: 200 * time.Millisecond}
			go func() {
				ended <- gdbstub.NewServer(opener, &o).Serve(context.Background(), withoutDeadlines{there})
			}()
			c := &client{t, here, rsp.NewConn(here, 0)}
			if got := c.ask("vMustReplyEmpty"); got != "" && !strings.Contains(got, errBroken.Error()) {
				t.Errorf("got %q", got)
			}
			if name == "is served" {
				here.Close()
			}
			<-ended // a refused client that stays is left after the deadline
			here.Close()
		})
	}
}

// sluggish is a machine whose calls take a while each, as long as their context lets them.
type sluggish struct {
	*able
	each time.Duration
}

func (s *sluggish) pause(ctx context.Context) error {
	select {
	case <-time.After(s.each):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sluggish) Threads(ctx context.Context) ([]gdbstub.Thread, error) {
	if err := s.pause(ctx); err != nil {
		return nil, err
	}
	return s.able.Threads(ctx)
}

func (s *sluggish) ReadMemory(ctx context.Context, id gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if err := s.pause(ctx); err != nil {
		return 0, err
	}
	return s.able.ReadMemory(ctx, id, addr, p)
}

func (s *sluggish) OpenProcess(context.Context, int) (gdbstub.Target, error) {
	return &sluggish{newAble(), s.each}, nil
}

func (s *sluggish) Refresh(ctx context.Context) error { return s.pause(ctx) }

// A client waits for a request as a whole, whatever it takes to answer it.
func TestTheDeadlineIsThatOfTheRequest(t *testing.T) {
	const deadline = 600 * time.Millisecond
	target := &sluggish{newAble(), deadline * 2 / 3}
	c := dial(t, serve(t, open(target), &gdbstub.Options{Deadline: deadline}))
	c.expect(gdb13, c.ask(gdb13))
	within(t, deadline*3/2, func() { c.expect("m"+fmt.Sprintf("%x", uint64(text))+",1", "E14") }) // a list of threads first
	for pid := 2; pid < 5; pid++ {
		within(t, deadline*3/2, func() { c.ask(fmt.Sprintf("vAttach;%x", pid)) })
	}
	within(t, deadline*3/2, func() { c.ask("qfThreadInfo") }) // of all four
	c.ask("qfThreadInfo")
	c.send("vCont;c")
	time.Sleep(10 * time.Millisecond)
	within(t, deadline*3/2, func() { c.raw("\x03"); c.receive() })
}

// village is a machine with programs that count themselves.
type village struct {
	*able
	late        time.Duration // that opening takes
	open, total atomic.Int32
	stuck       chan struct{} // reads of a program last until this is closed
}

type villager struct {
	*bare
	of *village
}

func (v *village) OpenProcess(context.Context, int) (gdbstub.Target, error) {
	time.Sleep(v.late)
	v.open.Add(1)
	v.total.Add(1)
	return &villager{newBare(), v}, nil
}

func (v *villager) ReadMemory(context.Context, gdbstub.ThreadID, uint64, []byte) (int, error) {
	<-v.of.stuck
	return 0, errHole
}

func (v *villager) Close() error {
	v.of.open.Add(-1)
	return nil
}

// eventually fails the test unless something comes true soon.
func eventually(t *testing.T, what string, comeTrue func() bool) {
	t.Helper()
	for start := time.Now(); !comeTrue(); time.Sleep(time.Millisecond) {
		if time.Since(start) > gdbPatience {
			t.Fatalf("not in %v: %s", gdbPatience, what)
		}
	}
}

func newVillage() *village { return &village{able: newAble(), stuck: make(chan struct{})} }

func TestAFloodOfAttachesIsBounded(t *testing.T) {
	v := newVillage()
	close(v.stuck)
	c := connect(t, v)
	c.ask(gdb13 + ";error-message+")
	attached := 0
	for pid := 2; pid < 300; pid++ {
		if strings.HasPrefix(c.ask(fmt.Sprintf("vAttach;%x", pid)), "T05") {
			attached++
		}
	}
	if attached == 0 || attached >= 64 || int(v.open.Load()) != attached {
		t.Errorf("%d programs are attached to, %d open", attached, v.open.Load())
	}
	c.expectPart("vAttach;fff", "64 processes are attached to: detach from one first")
	c.expect("D;2", "OK")
	c.expectPart("vAttach;fff", "T05")
	c.expect("!", "OK")
	if n := v.open.Load(); n != 0 {
		t.Errorf("%d programs are still open", n)
	}
}

func TestProgramsWithAHangingCallCountUntilItReturns(t *testing.T) {
	v := newVillage()
	c := dial(t, serve(t, open(v), &gdbstub.Options{Deadline: 20 * time.Millisecond}))
	c.ask(gdb13)
	for pid := 2; pid < 80; pid++ {
		c.ask(fmt.Sprintf("vAttach;%x", pid))
		c.ask("m0,1")
		c.ask(fmt.Sprintf("D;%x", pid))
	}
	if n := v.open.Load(); n > 64 {
		t.Errorf("%d programs are open", n)
	}
	close(v.stuck)
	eventually(t, "all programs are closed", func() bool { return v.open.Load() == 0 })
}

func TestAProgramThatOpensTooLateIsClosed(t *testing.T) {
	v := newVillage()
	v.late = 150 * time.Millisecond
	c := dial(t, serve(t, open(v), &gdbstub.Options{Deadline: 50 * time.Millisecond}))
	c.ask(gdb13)
	c.expect("vAttach;2", "E01")
	eventually(t, "the program is closed", func() bool { return v.total.Load() == 1 && v.open.Load() == 0 })
}

func TestTargetsThatHangTakeUpPlaces(t *testing.T) {
	hang := make(chan struct{})
	var opened atomic.Int32
	addr := serve(t, func(context.Context) (gdbstub.Target, error) {
		opened.Add(1)
		return &stubborn{able: newAble(), hang: hang}, nil
	}, &gdbstub.Options{Deadline: 20 * time.Millisecond, MaxClients: 3})
	for range 3 {
		c := dial(t, addr)
		c.expect("m0,1", "E14")
		c.conn.Close()
	}
	time.Sleep(100 * time.Millisecond)
	c := dial(t, addr)
	if got := c.ask("vMustReplyEmpty"); !strings.Contains(got, "3 clients are connected") {
		t.Errorf("got %q", got)
	}
	close(hang)
	for try := 0; ; try++ {
		c := dial(t, addr)
		if c.ask("vMustReplyEmpty") == "" {
			break
		}
		c.conn.Close()
		if try == 100 {
			t.Fatal("their places are not given back")
		}
	}
	if n := opened.Load(); n != 4 {
		t.Errorf("%d targets opened", n)
	}
}

func TestTheServerEndsSoonThoughTargetsHang(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	defer close(hang)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := gdbstub.NewServer(open(&stubborn{able: newAble(), hang: hang}), nil)
	go func() { ended <- server.ServeListener(ctx, ln) }()
	for range 20 {
		dial(t, ln.Addr().String()).send("m0,1")
		dial(t, ln.Addr().String()).send("qAttached")
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	within(t, 3*time.Second, func() { err = <-ended })
	if err != nil {
		t.Error(err)
	}
}

// notes is where a server logs to in a test.
type notes struct {
	mu   sync.Mutex // protects text
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func TestDroppedClientsAreLogged(t *testing.T) {
	var log notes
	o := quick
	o.MaxClients, o.Deadline, o.Logger = 1, 4*time.Second, hclog.New(&hclog.LoggerOptions{Output: &log})
	addr := serve(t, open(newBare()), &o)
	var all []*client
	for range 5 { // one is served and falls silent, another waits, the others are a flood
		all = append(all, dial(t, addr))
	}
	for _, c := range all {
		c.expectEnd()
	}
	for _, want := range []string{"no first request came for 200ms", "clients dropped without a reply: too many are waiting"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &log)
		}
	}
}

func TestAReplyThatIsNotTakenIsNamed(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	ended := make(chan error, 1)
	o := gdbstub.Options{WriteTimeout: 50 * time.Millisecond}
	go func() { ended <- gdbstub.NewServer(open(newBare()), &o).Serve(context.Background(), there) }()
	if _, err := io.WriteString(here, "$?#3f"); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "did not read its reply for 50ms") {
		t.Errorf("ended by %v", err)
	}
}
