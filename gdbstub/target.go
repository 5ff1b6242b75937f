package gdbstub

import "context"

// ThreadID names a thread of a Target. It is positive and should fit 31 bits, which is what VS Code
// can hold.
type ThreadID int64

// maxThreadID is the largest ThreadID that is shown to clients.
const maxThreadID ThreadID = 1<<31 - 1

// Thread is one line of a client's thread list.
type Thread struct {
	ID   ThreadID
	Name string // short, such as the command name; may be empty
	Text string // free text shown in brackets; may be empty
	Core int    // number of the CPU, or negative if there is none
}

// Registers holds the known registers of a thread by their names in the [tdesc.Description]. A
// register that is missing is shown as <unavailable>.
type Registers map[string]uint64

// Target is the least that a machine must offer. Addresses are virtual, in the address space of the
// thread.
//
// A Target is used by one goroutine at a time, and by one connection only. Calls should end soon
// after their ctx is done; one that does not delays every later request of its connection, and its
// result is thrown away. If a Target implements io.Closer it is closed when its connection has
// ended.
type Target interface {
	// Threads lists the threads. The first is the one selected at connect. The list must not be
	// empty.
	Threads(ctx context.Context) ([]Thread, error)
	// Registers returns what is known of a thread's registers.
	Registers(ctx context.Context, id ThreadID) (Registers, error)
	// ReadMemory fills p from addr on and returns the number of good bytes from the start of p. A
	// number less than len(p) comes with an error; the good bytes are used.
	ReadMemory(ctx context.Context, id ThreadID, addr uint64, p []byte) (int, error)
}
