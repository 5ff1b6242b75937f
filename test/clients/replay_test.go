package clients

import (
	"bytes"
	"net"
	"testing"
)

// replay is a stub that answers at once what another has answered: what a client takes for a long conversation by itself.
type replay map[string][]byte // by the thread that was selected and the request

// replayed are the answers that a tap has heard. To a request asked twice it is the later one.
func (t *tap) replayed() replay {
	t.mu.Lock()
	defer t.mu.Unlock()
	answers := replay{}
	var asked asking
	for _, c := range t.heard {
		if c.fromStub {
			answers[asked.key] = append(answers[asked.key], c.bytes...)
			continue
		}
		for _, key := range asked.hear(c.bytes) {
			answers[key] = nil
		}
	}
	return answers
}

// asking is a client that asks.
type asking struct {
	rest     []byte // of what it sent: no complete packet yet
	selected string // its thread
	key      string // of the last request
}

// hear adds what the client sent and returns the keys of the requests that are complete with it.
func (a *asking) hear(b []byte) []string {
	var keys []string
	a.rest = eachPacket(append(a.rest, b...), func(packet []byte) {
		if bytes.HasPrefix(packet, []byte("Hg")) {
			a.selected = string(packet)
		}
		a.key = a.selected + " " + string(packet)
		keys = append(keys, a.key)
	})
	return keys
}

// start answers clients until the test ends, and returns where: HOST:PORT.
func (r replay) start(t testing.TB) string {
	t.Helper()
	return listen(t, r.answer)
}

// answer goes on until the client is gone. A request that the other stub did not hear is one that it does not know.
func (r replay) answer(conn net.Conn) {
	defer conn.Close()
	var asked asking
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		for _, key := range asked.hear(buf[:n]) {
			answer, known := r[key]
			if !known {
				answer = []byte("$#00")
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}
