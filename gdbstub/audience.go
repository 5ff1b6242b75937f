package gdbstub

import "time"

// audience tells whether a client still waits for the answer to a monitor command.
//
// On Ctrl-C gdb gives up the command as soon as the next packet has come, and says nothing. Whatever is sent after that
// it takes for the answers to its next requests. But while it waits it lets hear from it: it writes a '-' after each
// remotetimeout (2 s) without a packet. So between two packets the server waits for one: a gdb that has gone is sent
// nothing, and is served again as if nothing had been when it comes with its next request.
//
// Seen in gdb 13.1; for lldb, which writes no '-', and clients in ack mode there is no such sign.
type audience struct {
	beats bool      // writes a '-' while it waits
	here  bool      // waits for certain
	last  time.Time // when it was sent something, or asked
}

// How often output is shown. An answer to every second '-' lets commands of up to two remotetimeouts end when they end.
const (
	showEvery  = 500 * time.Millisecond
	beatsApart = 3 * time.Second
)

// newAudience is for a client that has just asked.
func (s *session) newAudience() audience {
	return audience{beats: s.noAck && !s.client.lldb, here: true, last: time.Now()}
}

// isThere notes a '-'.
func (a *audience) isThere() { a.here = true }

// sent notes that a packet was sent.
func (a *audience) sent() { a.here, a.last = !a.beats, time.Now() }

// open says whether it is time to show something.
func (a *audience) open() bool { return !a.beats || a.here && time.Since(a.last) >= beatsApart }
