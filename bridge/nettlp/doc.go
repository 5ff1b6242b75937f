// Package nettlp reads the RAM of a machine through a NetTLP adapter: a PCIe card that takes
// transaction layer packets (TLPs) from Ethernet, one per UDP datagram, and sends back what the
// machine answers. It has both ends: [Client], the initiator, which is a bridge.Memory, and
// [Adapter], a completer in software over any other bridge.Memory.
//
// # A read
//
// [Client.ReadPhys] cuts every piece at 4 KiB boundaries and at the maximum read request size
// (MRRS), and sends each part as a memory read (MRd) under its own tag, as many at a time as there
// are tags. Tag t travels on UDP port base+t, source and destination alike. The machine answers
// with completions (CplD), several per request if it likes; each names its place by the count of
// bytes still to come. Lost requests are sent again, by turns on the same tag and on another.
//
// What datagrams cost is most of what a read costs, so completions of one length that are due
// together travel as one, where the kernels at both ends can do that (UDP_SEGMENT, UDP_GRO). It
// changes neither what is on the wire, nor what is believed.
//
// The goroutine that wants the data sends, waits and receives itself, so a read costs little more
// than the round trip. In return one batch is in the air at a time: others wait for their turn.
//
// # What is believed
//
// UDP loses, doubles, delays and reorders. A completion counts only if its port, tag, requester ID,
// byte count, lower address and length all fit a request that is in the air, and if none of its
// bytes came before. That leaves one trap: a late duplicate of an earlier completion of the same
// tag, at an address equal in its low seven bits, with an equal count. Adapters stamp what they
// send with a tick and a sequence number, so a completion must also be newer than the newest stamp
// that had come in when its request went out; a duplicate never is.
//
// Stamps do not help when not the answer is late but the adapter: it stood still, and now answers
// all that it was asked, with new stamps, while the same tags ask for something else. So a request
// that was not answered in full is remembered as a stray, and under its tag nothing is asked whose
// completions could be mistaken for the stray's. Lower Address and Byte Count of a completion
// always add up to the end of the request, modulo 128, which serves as more bits of the tag: a
// request is cut a little shorter, if need be, to end elsewhere. Requests that lie within 64 bytes
// are answered whole, so their length tells them apart as well. To ask for the same bytes again is
// always safe: the RAM of a dead machine does not change. A stray is forgotten after other answers
// came in time for three seconds in all, or after half a minute. When no tag is left that will do,
// a read waits for as long as a request may take, and then fails.
//
// # What remains
//
// The trap of the late duplicate stays open where there is no stamp to compare with: with an
// adapter that leaves the stamp zero (libtlp's psmem), and in the first round trip after five
// seconds of silence, because the tick wraps within half a minute. There a tag's socket is emptied
// before the tag is used again, and tags take turns; a duplicate that comes later than that would
// be believed if it fits. A request that the network doubled counts as answered after the first
// answer, though the second has a newer stamp. A client remembers its own strays only: what
// another, with the same addresses, ports and requester ID, asked of an adapter that stands still
// may come to the next as an answer. And an adapter may not stand still for more than half a
// minute. One that sends well-formed lies, say another line's data under the right header, cannot
// be told from an honest one.
package nettlp
