package gdbstub

import "time"

// heartbeat finds out whether a client still waits for the answer to a monitor command.
//
// On Ctrl-C gdb gives up the command when the next packet arrives, and sends nothing. It takes
// every later packet for the answer to one of its next requests. While gdb waits it writes a '-'
// after each remotetimeout (2 s) without a packet. The server therefore waits for a '-' between two
// packets. A gdb that has gone away is sent nothing, and its next request is answered as usual.
//
// Seen in gdb 13.1. lldb writes no '-', and for clients in ack mode it has another meaning: for
// these there is no such sign.
type heartbeat struct {
	expected bool      // the client writes a '-' while it waits
	seen     bool      // since the last packet was sent, or none is expected
	last     time.Time // when a packet was sent to the client, or its request arrived
}

// How often output is shown. A packet for every second '-' lets commands of up to two
// remotetimeouts end without delay.
const (
	showInterval      = 500 * time.Millisecond
	heartbeatInterval = 3 * time.Second
)

// newHeartbeat is for a client that has just sent a request.
func (s *session) newHeartbeat() heartbeat {
	return heartbeat{expected: s.noAck && !s.client.lldb, seen: true, last: time.Now()}
}

// beat records a '-'.
func (h *heartbeat) beat() { h.seen = true }

// sent records that a packet was sent.
func (h *heartbeat) sent() { h.seen, h.last = !h.expected, time.Now() }

// mayShow reports whether output may be sent now.
func (h *heartbeat) mayShow() bool {
	return !h.expected || h.seen && time.Since(h.last) >= heartbeatInterval
}
