package session

import (
	"net/netip"
	"os"
	"sync/atomic"
)

// links numbers the addresses of both ends of NetTLP links.
var links atomic.Uint32

// Link returns addresses of this computer for both ends of a NetTLP link, out of 128 for this
// process. Another test process has the same ones only if its id is equal modulo 32768.
func Link() (server, client netip.Addr) {
	n, pid := links.Add(2), os.Getpid()
	end := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{127, byte(64 + pid>>8%128), byte(pid), byte(n)})
	}
	return end(n), end(n + 1)
}
