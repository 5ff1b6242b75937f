package session

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tap forwards the connections of debuggers to a stub. It records the packets of both sides and
// measures how long the stub takes to answer.
type Tap struct {
	listener net.Listener
	stub     string // HOST:PORT
	open     sync.WaitGroup

	mu       sync.Mutex // protects all below
	packets  []tapped
	requests int
	waited   time.Duration
	asked    time.Time // when the first unanswered request came; zero: none
}

// A tapped packet is a payload as it was sent, still escaped; "\x03" is an interrupt.
type tapped struct {
	fromStub bool
	payload  []byte
}

// StartTap listens on a free port for debuggers and connects each of them to the stub at an
// address, HOST:PORT.
func StartTap(stub string) (*Tap, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tap{listener: listener, stub: stub}
	t.open.Go(t.accept)
	return t, nil
}

// Address returns where debuggers connect to, HOST:PORT.
func (t *Tap) Address() string { return t.listener.Addr().String() }

// Spent returns the number of requests so far, and how long debuggers waited for their answers.
func (t *Tap) Spent() (requests int, waited time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests, t.waited
}

// Transcript returns all packets so far in the order in which they were complete, one a line: "-> "
// from a debugger, "<- " from the stub. Payloads are quoted as inside a Go string, except that
// quotation marks are not escaped. Of payloads of more than maxBytes it shows the beginning, if
// maxBytes is not 0.
func (t *Tap) Transcript(maxBytes int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	for _, p := range t.packets {
		direction, shown, rest := "-> ", p.payload, ""
		if p.fromStub {
			direction = "<- "
		}
		if maxBytes > 0 && len(shown) > maxBytes {
			shown, rest = shown[:maxBytes], fmt.Sprintf(" … %d bytes", len(shown))
		}
		quoted := strconv.QuoteToASCII(string(shown))
		text.WriteString(direction + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`) + rest + "\n")
	}
	return text.String()
}

// Close stops accepting debuggers and waits until those that are connected have disconnected.
func (t *Tap) Close() error {
	err := t.listener.Close()
	t.open.Wait()
	return err
}

func (t *Tap) accept() {
	for {
		debugger, err := t.listener.Accept()
		if err != nil {
			return
		}
		stub, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", t.stub)
		if err != nil {
			_ = debugger.Close()
			continue
		}
		t.open.Go(func() { t.forward(stub, debugger, false) })
		t.open.Go(func() { t.forward(debugger, stub, true) })
	}
}

// forward copies one direction until it ends, then closes both.
func (t *Tap) forward(to, from net.Conn, fromStub bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	var pending []byte
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		pending = eachPacket(append(pending, buf[:n]...), func(payload []byte) { t.record(fromStub, payload) })
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// record adds a packet. A debugger waits from its request until the stub's next packet is complete.
func (t *Tap) record(fromStub bool, payload []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.packets = append(t.packets, tapped{fromStub, bytes.Clone(payload)})
	switch {
	case fromStub && !t.asked.IsZero():
		t.waited += time.Since(t.asked)
		t.asked = time.Time{}
	case !fromStub && string(payload) != interrupt:
		t.requests++
		if t.asked.IsZero() {
			t.asked = time.Now()
		}
	}
}

// interrupt is the byte that a debugger sends outside of packets to stop a program.
const interrupt = "\x03"

// eachPacket calls f with the payload of each complete packet in b, which is between "$" and "#"
// and two digits of checksum, and with each interrupt. It returns the rest of b.
func eachPacket(b []byte, f func(payload []byte)) []byte {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '#')
		switch {
		case b[0] == interrupt[0]:
			f(b[:1])
			b = b[1:]
		case b[0] != '$':
			b = b[1:]
		case end < 0 || len(b) < end+3:
			return b
		default:
			f(b[1:end])
			b = b[end+3:]
		}
	}
	return nil
}
