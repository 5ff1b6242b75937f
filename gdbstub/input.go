package gdbstub

import "physgdb/gdbstub/rsp"

// event is what the client sent, or the end of the connection.
type event struct {
	kind    rsp.Kind
	payload []byte // of a packet; valid until the next event is read
	err     error
}

// input reads events from the client in a goroutine of its own, so that a session can wait for
// other events as well. It reads one at a time: the next one when the session waits for it. The
// session's goroutine makes all calls.
type input struct {
	wanted chan struct{} // receives when the session waits for one more event
	ready  chan event    // has at most one
	asked  bool          // for an event that has not been taken
}

// startInput starts the goroutine, which ends when both close was called and the connection was
// closed.
func startInput(wire *rsp.Conn) *input {
	in := &input{wanted: make(chan struct{}, 1), ready: make(chan event, 1)}
	go func() {
		for range in.wanted {
			kind, payload, err := wire.Next()
			in.ready <- event{kind, payload, err}
		}
	}()
	return in
}

// next returns the channel on which the next event arrives. The receiver of the event calls taken.
// The payload of the previous event is no longer valid.
func (in *input) next() <-chan event {
	if !in.asked {
		in.asked = true
		in.wanted <- struct{}{}
	}
	return in.ready
}

// taken says that the event of next was received.
func (in *input) taken() { in.asked = false }

// putBack makes an event that was received, but not taken, the next one again.
func (in *input) putBack(e event) { in.ready <- e }

func (in *input) close() { close(in.wanted) }
