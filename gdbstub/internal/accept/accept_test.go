package accept

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received returns what the server reads of bytes that arrive in pieces, and the last error.
func received(sent string, piece int) (string, error) {
	here, there := net.Pipe()
	go func() {
		defer here.Close()
		for rest := sent; rest != ""; rest = rest[min(piece, len(rest)):] {
			if _, err := io.WriteString(here, rest[:min(piece, len(rest))]); err != nil {
				return
			}
		}
	}()
	defer there.Close()
	got, err := io.ReadAll(NewConn(there))
	return string(got), err
}

func TestFirstBytes(t *testing.T) {
	for sent, want := range map[string]string{
		"GET / HTTP/1.1\r\n":  "HTTP (GET)",
		"M-SEARCH * HTTP/1.1": "HTTP (M-SEARCH)",
		"\x16\x03\x01\x02":    "TLS",
		"+$qSupported#37":     "",
		"$?#3f":               "",
		"\x03":                "",
		"-GET / HTTP/1.1\r\n": "",
		"GO $?#3f":            "", // shorter than any method
		"hello $?#3f":         "",
	} {
		for _, piece := range []int{1, 3, len(sent)} {
			got, err := received(sent, piece)
			var foreign foreignError
			switch {
			case want == "" && (err != nil || got != sent):
				t.Errorf("%q in pieces of %d: read %q, %v", sent, piece, got, err)
			case want != "" && (!errors.As(err, &foreign) || foreign.what != want || got != ""):
				t.Errorf("%q in pieces of %d: read %q, %v, want %s", sent, piece, got, err, want)
			}
		}
	}
}

// FuzzFirstBytes: however a beginning is cut, it is served or refused the same way.
func FuzzFirstBytes(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\n", 1)
	f.Add("+$?#3f", 3)
	f.Fuzz(func(t *testing.T, first string, piece int) {
		_, whole := received(first, max(1, len(first)))
		_, parts := received(first, 1+max(0, piece)%20)
		if (whole == nil) != (parts == nil) {
			t.Errorf("%q: %v as a whole, %v in parts", first, whole, parts)
		}
	})
}

// servedConn is the Conn of a client that is served, and says in *left that it was closed for
// another.
func servedConn(s *served, name string, left *[]string) *Conn {
	c := NewConn(nil)
	c.leave = func() { *left = append(*left, name) }
	s.add(c)
	return c
}

func TestIdlestIsClosed(t *testing.T) {
	var s served
	var left []string
	first := servedConn(&s, "first", &left)
	servedConn(&s, "second", &left)
	busy := servedConn(&s, "busy", &left)
	busy.Begin()
	time.Sleep(time.Millisecond)
	first.Begin()
	first.End() // later than the second connected
	for range 2 {
		if _, closed := s.closeIdlest(); !closed {
			t.Error("none was closed")
		}
	}
	if _, closed := s.closeIdlest(); closed {
		t.Error("one that was busy was closed")
	}
	if got := strings.Join(left, ", "); got != "second, first" {
		t.Errorf("closed: %s", got)
	}
	if first.Begin() {
		t.Error("a request of a client that was closed begins")
	}
}

// TestPlacesAreTakenUntilAllHasEnded has a client whose connection has ended but not what is done
// for it.
func TestPlacesAreTakenUntilAllHasEnded(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	served, refused := make(chan struct{}, 100), make(chan string, 100)
	l := Listener{
		Logger: hclog.NewNullLogger(), MaxClients: 1, Patience: 10 * time.Millisecond,
		Serve: func(_ context.Context, c *Conn) error {
			defer c.Close()
			once.Do(func() { c.Running.Go(func() { <-release }) })
			served <- struct{}{}
			return nil
		},
		Refuse: func(c *Conn, why string) {
			defer c.Close()
			refused <- why
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, ln) }()
	connect := func() {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	connect()
	<-served
	connect()
	if why := <-refused; !strings.HasPrefix(why, "1 clients are connected and busy") {
		t.Error(why)
	}
	close(release)
	for again := true; again; { // a client that comes while another is refused is dropped
		connect()
		select {
		case <-served:
			again = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
