package nettlp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBuffer is asked of the kernel for each socket, in bytes. A 4 KiB read answered in 64-byte
// completions takes 64 buffers of some 800 bytes; a socket has one read outstanding, or two after a
// retry.
const receiveBuffer = 256 << 10

// openSocket makes a non-blocking UDP socket bound to local. Nothing is set that lets two programs
// share the port.
func openSocket(local netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// The two calls below exist because those of package unix allocate an address per datagram. A nil
// address means that of a connected socket.

func sendTo(fd int, p []byte, to *unix.RawSockaddrInet4) error {
	var size uintptr
	if to != nil {
		size = unsafe.Sizeof(*to)
	}
	_, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(to)), size)
	if e != 0 {
		return e
	}
	return nil
}

func recvFrom(fd int, p []byte, from *unix.RawSockaddrInet4) (int, error) {
	var size *uint32
	if from != nil {
		n := uint32(unsafe.Sizeof(*from))
		size = &n
	}
	n, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), 0, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(size)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
