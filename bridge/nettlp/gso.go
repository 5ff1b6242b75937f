package nettlp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel can carry datagrams of one length, with the same addresses, as one packet through its
// stack, and over a loopback device from sender to receiver. This removes most of the cost of many
// small datagrams. udp(7) calls it segmentation offload, UDP_SEGMENT (since Linux 4.18) and UDP_GRO
// (since 5.0). On the wire, and for a receiver that did not ask for it, they are ordinary
// datagrams.

const (
	// maxSegments is how many datagrams may be sent as one (UDP_MAX_SEGMENTS in Linux
	// include/linux/udp.h, until 6.7).
	maxSegments = 64
	// maxSent is how many bytes: the size of an IPv4 packet without its own header and UDP's.
	maxSent = 1<<16 - 1 - 20 - 8
	// maxBatch is how many bytes one receive may return.
	maxBatch = 1 << 16
)

// gsoBatch is the result of one receive: datagrams of one length, except the last, which may be
// shorter; usually a single one.
type gsoBatch struct {
	rest    []byte
	segment int // length of each but the last; 0 if there is but one
	ended   bool
}

// next removes the first datagram, which may be empty, and returns it. It reports false when there
// are no more.
func (t *gsoBatch) next() (datagram []byte, ok bool) {
	if t.ended {
		return nil, false
	}
	datagram = t.rest
	if t.segment > 0 && t.segment < len(t.rest) {
		datagram = t.rest[:t.segment]
	}
	t.rest = t.rest[len(datagram):]
	t.ended = len(t.rest) == 0
	return datagram, true
}

// control is a control message with one number in it (cmsg(3)).
type control struct {
	unix.Cmsghdr
	value [8]byte // of which the kernel uses the first two or four
}

// enableGRO lets a socket receive batches. A kernel without UDP_GRO delivers single datagrams.
func enableGRO(fd int) { unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) }

// hasGSO reports whether the kernel has UDP_SEGMENT. A kernel without it would send a batch as one
// long datagram.
func hasGSO(fd int) bool {
	return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil
}

// gsoReceiver receives batches from connected sockets, without allocating or waiting.
type gsoReceiver struct {
	msg unix.Msghdr
	iov unix.Iovec
	ctl control
}

// recv returns the next batch of a socket, or EAGAIN if there is none.
func (r *gsoReceiver) recv(fd int, buf []byte) (gsoBatch, error) {
	r.iov.Base = unsafe.SliceData(buf)
	r.iov.SetLen(len(buf))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = (*byte)(unsafe.Pointer(&r.ctl))
	r.msg.SetControllen(int(unsafe.Sizeof(r.ctl)))
	n, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg)), 0)
	if e != 0 {
		return gsoBatch{}, e
	}
	t := gsoBatch{rest: buf[:n]}
	if r.msg.Controllen > 0 && r.ctl.Level == unix.IPPROTO_UDP && r.ctl.Type == unix.UDP_GRO {
		t.segment = int(*(*int32)(unsafe.Pointer(&r.ctl.value)))
	}
	return t, nil
}

// gsoSender sends batches, without allocating or waiting.
type gsoSender struct {
	msg unix.Msghdr
	iov [maxSegments]unix.Iovec
	ctl control
	n   int // datagrams in iov
}

// add adds a datagram to the batch. It must not change until the batch was sent.
func (s *gsoSender) add(datagram []byte) {
	s.iov[s.n].Base = unsafe.SliceData(datagram)
	s.iov[s.n].SetLen(len(datagram))
	s.n++
}

// send sends the batch and empties it. All but the last datagram must be as long as segment
// says, the last at most.
func (s *gsoSender) send(fd, segment int, to *unix.RawSockaddrInet4) error {
	s.msg.Name = (*byte)(unsafe.Pointer(to))
	s.msg.Namelen = uint32(unsafe.Sizeof(*to))
	s.msg.Iov = &s.iov[0]
	s.msg.SetIovlen(s.n)
	s.ctl.Level, s.ctl.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	s.ctl.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&s.ctl.value)) = uint16(segment)
	s.msg.Control = (*byte)(unsafe.Pointer(&s.ctl))
	s.msg.SetControllen(int(unsafe.Sizeof(s.ctl)))
	_, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msg)), unix.MSG_NOSIGNAL)
	s.n = 0
	if e != 0 {
		return e
	}
	return nil
}
