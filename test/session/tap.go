package session

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// Tap lies between a debugger and a stub, and measures what of a debugger's time the stub takes.
type Tap struct {
	listener net.Listener
	address  string // of the stub
	open     sync.WaitGroup

	mu       sync.Mutex // protects all below
	requests int
	waited   time.Duration
	asked    time.Time // when the request was heard that is not answered; zero: none
}

// StartTap listens on a free port for debuggers and connects each of them to the stub at an
// address.
func StartTap(address string) (*Tap, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tap{listener: listener, address: address}
	t.open.Go(t.accept)
	return t, nil
}

// Address is where debuggers connect to, HOST:PORT.
func (t *Tap) Address() string { return t.listener.Addr().String() }

// Spent returns how many requests the stub was asked so far, and how long the debugger waited for
// its answers.
func (t *Tap) Spent() (requests int, waited time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests, t.waited
}

// Close ends the listening, and waits until the debuggers have gone.
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
		stub, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", t.address)
		if err != nil {
			_ = debugger.Close()
			continue
		}
		t.open.Go(func() { t.carry(stub, debugger, t.ask) })
		t.open.Go(func() { t.carry(debugger, stub, t.answer) })
	}
}

// carry copies one direction until it ends, then closes both.
func (t *Tap) carry(to, from net.Conn, hear func([]byte)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		hear(buf[:n])
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// ask hears what a debugger says. It asks one thing at a time, and writes each request at once.
func (t *Tap) ask(said []byte) {
	if !bytes.Contains(said, []byte("$")) {
		return // an acknowledgement, or an interrupt
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	t.asked = time.Now()
}

func (t *Tap) answer(said []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asked.IsZero() && bytes.Contains(said, []byte("$")) {
		t.waited += time.Since(t.asked)
		t.asked = time.Time{}
	}
}
