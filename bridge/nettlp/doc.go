// Package nettlp reads the RAM of a machine through a NetTLP adapter: a PCIe card that takes
// transaction layer packets (TLPs) from Ethernet, one per UDP datagram, and sends back what the
// machine answers. It has both ends: [Client], the initiator, which is a bridge.Memory, and
// [Adapter], a completer in software over any other bridge.Memory.
//
// # A read
//
// [Client.ReadPhys] cuts every piece at 4 KiB boundaries and at the maximum read request size
// (MRRS), and sends each part as a memory read (MRd) under its own tag, as many at a time as there
// are tags. Tag t uses UDP port base+t, source and destination alike. The machine answers with
// completions (CplD), one or several for each request; each states its place by the count of bytes
// that remain. Lost requests are sent again, alternately on the same tag and on another.
//
// Datagrams are most of the cost of a read. Completions of one length that are due at the same time
// are therefore sent as one batch where the kernels at both ends support that (UDP_SEGMENT,
// UDP_GRO). This changes neither the datagrams on the wire nor what is accepted.
//
// The goroutine that wants the data sends, waits and receives itself, so a read costs little more
// than the round trip. In return one batch is outstanding at a time: others wait for their turn.
//
// # What is accepted
//
// UDP loses, duplicates, delays and reorders. A completion counts only if its port, tag, requester
// ID, byte count, lower address and length all fit an outstanding request, and if none of its bytes
// arrived before. One case remains: a late duplicate of an earlier completion of the same tag, at
// an address with the same low seven bits, with the same count. Adapters stamp what they send with
// a tick and a sequence number, so a completion must also be newer than the newest stamp received
// before its request was sent; a duplicate never is.
//
// Stamps do not help when the adapter itself is late: it stalled, and now answers all earlier
// requests, with new stamps, while the same tags are used for other requests. A request that was
// not answered in full is therefore remembered as late, and its tag is not used for requests whose
// completions could be mistaken for its own. Lower Address and Byte Count of a completion always
// add up to the end of the request, modulo 128, which serves as more bits of the tag: a request is
// cut a little shorter, if necessary, to end at another address. Requests within 64 bytes are
// answered whole, so their length distinguishes them as well. A request for the same bytes is
// always safe: the RAM of a dead machine does not change. A late request expires after other
// answers arrived in time for three seconds in all, or after half a minute. When no tag is usable,
// a read waits for as long as a request may take, and then fails.
//
// # Limits
//
// The late duplicate is not detected where there is no stamp to compare with: with an adapter that
// leaves the stamp zero (libtlp's psmem), and in the first round trip after five seconds of
// silence, because the tick wraps within half a minute. In these cases a tag's socket is emptied
// before the tag is used again, and tags are used in turn; a duplicate that arrives after that is
// accepted if it fits. A request that the network duplicated counts as answered after the first
// answer, though the second has a newer stamp. A client knows its own late requests only: answers
// to another client's requests, with the same addresses, ports and requester ID, may reach the next
// client when an adapter stalls. An adapter must not stall for more than half a minute. An adapter
// that sends well-formed wrong data, such as another line's under the right header, is not
// detected.
package nettlp
