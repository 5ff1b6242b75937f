package clients

import (
	"bytes"
	"net"
	"testing"
)

// replay is a stub that answers at once what another has answered: what a client takes for a long
// conversation by itself. It has the answers to a request in their order, by the thread that was
// selected and the request.
type replay map[string][][]byte

// replayed are the answers that a tap has heard.
func (t *tap) replayed() replay {
	t.mu.Lock()
	defer t.mu.Unlock()
	answers := replay{}
	var asked asking
	for _, c := range t.heard {
		if !c.fromStub {
			for _, key := range asked.hear(c.bytes) {
				answers[key] = append(answers[key], nil)
			}
			continue
		}
		if all := answers[asked.key]; all != nil {
			last := len(all) - 1
			all[last] = append(all[last], c.bytes...)
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

// answer goes on until the client is gone. A request that the other stub did not hear is one that
// it does not know; one that it has heard less often gets the last answer again.
func (r replay) answer(conn net.Conn) {
	defer conn.Close()
	var asked asking
	answered := map[string]int{}
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		for _, key := range asked.hear(buf[:n]) {
			answer := []byte("$#00")
			if all := r[key]; all != nil {
				answer = all[min(answered[key], len(all)-1)]
			}
			answered[key]++
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}
