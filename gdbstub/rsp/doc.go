// Package rsp frames the GDB remote serial protocol: bytes in, packets out, and back.
//
// It knows how a packet travels ($payload#checksum, acknowledgements, the interrupt byte, `}`
// escapes, hex) and nothing of what a packet means. Source: gdb manual, appendix E.1 "Overview" and
// E.11 "Packet Acknowledgment".
//
// A Reader turns a byte stream into events, a Writer frames replies with one Write each, and a Conn
// joins the two with the rules of acknowledgement. All three belong to one goroutine at a time.
package rsp

// DefaultLimit is the payload size, in bytes, that a Reader accepts when no other limit is given.
// It is the PacketSize that gdb 13, 16 and 18 and lldb were seen to work with.
const DefaultLimit = 0x20000

// interrupt is the byte a client sends outside of any packet to stop a running target (appendix
// E.10).
const interrupt = 0x03
