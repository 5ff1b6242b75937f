package clients

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// tap stands between clients and a stub, hears what they send one another, and knows how long
// clients have waited.
type tap struct {
	address, stub string // HOST:PORT

	mu     sync.Mutex // protects what follows
	heard  []chunk
	asked  time.Time // when the client asked what is not answered yet
	waited time.Duration
}

// chunk is what came at once in one direction.
type chunk struct {
	fromStub bool
	bytes    []byte
}

// startTap listens until the test ends.
func startTap(t testing.TB, stub string) *tap {
	t.Helper()
	tap := &tap{stub: stub}
	tap.address = listen(t, tap.join)
	return tap
}

// join passes bytes between a client and the stub until one of them is gone.
func (t *tap) join(client net.Conn) {
	defer client.Close()
	stub, err := net.Dial("tcp", t.stub)
	if err != nil {
		return
	}
	defer stub.Close()
	var both sync.WaitGroup
	both.Go(func() { t.pass(stub, client, false) })
	both.Go(func() { t.pass(client, stub, true) })
	both.Wait()
}

// pass copies one direction; its end is also that of the other.
func (t *tap) pass(to, from net.Conn, fromStub bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			t.hear(fromStub, buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hear remembers what came. A client waits from when it sends until the stub does.
func (t *tap) hear(fromStub bool, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = append(t.heard, chunk{fromStub, bytes.Clone(b)})
	switch {
	case !fromStub && t.asked.IsZero():
		t.asked = time.Now()
	case fromStub && !t.asked.IsZero():
		t.waited += time.Since(t.asked)
		t.asked = time.Time{}
	}
}

// waiting is how long clients have waited for the stub so far.
func (t *tap) waiting() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waited
}

// transcript is all packets so far, in the order in which they were complete.
func (t *tap) transcript() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var said bytes.Buffer
	rest := map[bool][]byte{}
	for _, c := range t.heard {
		rest[c.fromStub] = eachPacket(append(rest[c.fromStub], c.bytes...), func(packet []byte) {
			writePacket(&said, c.fromStub, packet)
		})
	}
	return said.String()
}

// eachPacket calls f with each packet that is complete, "$" to "#" and two digits of checksum,
// without those, and returns what is not. A lone 0x03 is Ctrl-C.
func eachPacket(b []byte, f func(packet []byte)) []byte {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '#')
		switch {
		case b[0] == '\x03':
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

// longest is how much of a packet is written, in bytes.
const longest = 200

// writePacket writes a packet, or the beginning of a long one.
func writePacket(w *bytes.Buffer, fromStub bool, packet []byte) {
	direction, rest := "->", ""
	if fromStub {
		direction = "<-"
	}
	if len(packet) > longest {
		packet, rest = packet[:longest], fmt.Sprintf(" … %d bytes", len(packet))
	}
	quoted := strconv.QuoteToASCII(string(packet))
	fmt.Fprintf(w, "%s %s%s\n", direction, quoted[1:len(quoted)-1], rest)
}
