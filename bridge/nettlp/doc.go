// Package nettlp reads the RAM of a machine through a NetTLP adapter: a PCIe card that takes transaction layer packets
// (TLPs) from Ethernet, one per UDP datagram, and sends back what the machine answers. It has both ends: [Client], the
// initiator, which is a bridge.Memory, and [Adapter], a completer in software over any other bridge.Memory.
//
// # A read
//
// [Client.ReadPhys] cuts every piece at 4 KiB boundaries and at the maximum read request size (MRRS), and sends each
// part as a memory read (MRd) under its own tag, as many at a time as there are tags. Tag t travels on UDP port base+t,
// source and destination alike. The machine answers with completions (CplD), several per request if it likes; each names
// its place by the count of bytes still to come. Lost requests are sent again on another tag.
//
// The goroutine that wants the data sends, waits and receives itself, so a read costs little more than the round trip.
// In return one batch is in the air at a time: others wait for their turn.
//
// # What is believed
//
// UDP loses, doubles, delays and reorders. A completion counts only if its port, tag, requester ID, byte count, lower
// address and length all fit a request that is in the air, and if none of its bytes came before. That leaves one trap: a
// late duplicate of an earlier completion of the same tag, at an address equal in its low seven bits, with an equal
// count. Adapters stamp what they send with a tick and a sequence number, so a completion must also be newer than the
// newest stamp that had come in when its request went out; a duplicate never is.
//
// Stamps do not help when not the answer is late but the adapter: it answers a request that was given up long ago, with
// a new stamp. So a tag whose request was given up rests for ten timeouts, and for three seconds unless a later request
// was answered in the meantime, which shows that the adapter is not behind. (With tags= in the URL there are too few tags
// for that, and they rest for a quarter of the time a request may take at most: do not set it without need.)
//
// # What remains
//
// The trap stays open where there is no stamp to compare with: with an adapter that leaves the stamp zero (libtlp's
// psmem), in the first round trip of a session, and in the first after five seconds of silence, because the tick wraps
// within half a minute. There a tag's socket is emptied before the tag is used again, and tags take turns; a duplicate
// that comes later than that would be believed if it fits. So would the answer of an adapter that stalls for more than
// three seconds. One that sends well-formed lies, say another line's data under the right header, cannot be told from an
// honest one.
package nettlp
