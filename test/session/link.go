package session

import (
	"net/netip"
	"os"
	"sync/atomic"
)

// links numbers the addresses of both ends of NetTLP links.
var links atomic.Uint32

// Link returns addresses of this computer for both ends of a NetTLP link that nobody else uses, other processes that test
// something included.
func Link() (server, client netip.Addr) {
	n := links.Add(2)
	end := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{127, byte(64 + os.Getpid()%128), byte(n >> 8), byte(n)})
	}
	return end(n), end(n + 1)
}
