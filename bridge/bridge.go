// Package bridge reads the physical memory of another machine.
//
// A bridge is anything that still reaches the RAM of a machine whose kernel is dead: a PCIe adapter
// that answers over Ethernet, a NIC, a file. All of them are a [Memory]: a scatter read of physical
// addresses. Common functions are wrappers of that interface: [Guard] refuses reads of anything but
// RAM, [Cache] keeps pages that a dead machine can no longer change, [Meter] counts the reads.
//
// This package contains nothing about page tables or Linux.
package bridge

import (
	"context"
	"errors"
	"fmt"
)

// PhysAddr is a physical address of the remote machine, in bytes, as its memory controller sees it.
// Virtual addresses are plain uint64 everywhere in physgdb, so that mixing the two up does not
// compile.
type PhysAddr uint64

// PageSize is the unit in which x86-64 hands out memory, in bytes.
const PageSize = 4096

// Op is one piece of a scatter read: len(Buf) bytes from Addr.
type Op struct {
	Addr PhysAddr
	Buf  []byte
	// Trusted allows a read of Addr although no RAM map is known yet: a page table (or CR3) of the
	// machine itself maps its page as cacheable memory, or it lies where every PC has RAM. See
	// [Guard].
	Trusted bool
	// Err is set by ReadPhys when the piece could not be read to its end. If it is an
	// [*AccessError], the bytes before its Addr are good; otherwise none are.
	Err error
}

// Good returns how many bytes at the start of Buf are those of the machine's memory. It is valid
// after ReadPhys.
func (op *Op) Good() int {
	if op.Err == nil {
		return len(op.Buf)
	}
	var ae *AccessError
	if errors.As(op.Err, &ae) && ae.Addr > op.Addr && ae.Addr-op.Addr <= PhysAddr(len(op.Buf)) {
		return int(ae.Addr - op.Addr)
	}
	return 0
}

// Memory is the physical memory of a machine. Implementations are safe for concurrent use.
type Memory interface {
	// ReadPhys fills every piece, or sets its Err. It returns an error only when the source as a
	// whole is gone or ctx is done; the contents of the pieces are then undefined.
	ReadPhys(ctx context.Context, ops []Op) error
	// Info describes the memory. It is cheap.
	Info() Info
	// Close releases the source. Reads in flight end with an error.
	Close() error
}

// Counted is the optional ability to report what went over the wire.
type Counted interface{ Counts() Counts }

// Info is what is known of a memory.
type Info struct {
	// Name says where the bytes come from, as a person would write it: the source URL.
	Name string
	// RAM lists where RAM is; it is empty when that is not known.
	RAM RAMMap
}

// Counts is the cost of a session so far.
type Counts struct {
	Batches uint64 // calls of ReadPhys that reached the bridge
	Reads   uint64 // pieces in them: bridge reads
	Bytes   uint64 // bytes asked for by them
	Packets uint64 // requests on the wire (TLPs), zero where the bridge has none
	Retries uint64 // requests sent again because no answer came
}

// Why a piece of memory could not be read. They are wrapped in an [AccessError].
var (
	// ErrNotRAM: the address is outside the RAM map. Nothing was sent.
	ErrNotRAM = errors.New("not RAM")
	// ErrUnknownRAM: there is no RAM map, and the address is not trusted (see [Op.Trusted]).
	// Nothing was sent.
	ErrUnknownRAM = errors.New("not known to be RAM")
	// ErrRefused: the bridge or the machine answered that it cannot serve the address.
	ErrRefused = errors.New("refused by the machine")
	// ErrTimeout: no answer came in time.
	ErrTimeout = errors.New("no answer")
	// ErrMalformed: answers arrived, but all were invalid.
	ErrMalformed = errors.New("malformed answer")
	// ErrGone: the bytes existed when the source was opened, and no longer do.
	ErrGone = errors.New("the file was truncated after it was opened, or its disk fails; open it again")
)

// AccessError is the error of a read of physical memory, with the first byte that was not read.
type AccessError struct {
	Addr PhysAddr // first byte that was not read
	Len  int      // bytes that were wanted from there on
	Err  error    // why; wraps one of the sentinels of this package
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("read %d bytes at phys %#x: %v", e.Len, uint64(e.Addr), e.Err)
}

func (e *AccessError) Unwrap() error { return e.Err }

// Read reads one piece: len(p) bytes at addr, with [Op.Trusted] as given. It returns how many bytes
// at the start of p are good.
func Read(ctx context.Context, m Memory, addr PhysAddr, p []byte, trusted bool) (int, error) {
	ops := []Op{{Addr: addr, Buf: p, Trusted: trusted}}
	if err := m.ReadPhys(ctx, ops); err != nil {
		return 0, err
	}
	return ops[0].Good(), ops[0].Err
}
