package bridge

import "runtime/debug"

// Viewer is the optional ability to show memory in place, without a copy and without a system call:
// a mapped file.
type Viewer interface {
	// View returns the n bytes at addr, valid until Close, or false when they are not there in one
	// piece. They must be read by [InPlace].
	View(addr PhysAddr, n int) ([]byte, bool)
}

// ViewerOf returns m's ability to show memory in place, or nil. A wrapper has it if what it wraps
// has it; since a type has its methods always, a wrapper forwards the ability by a method Viewer()
// Viewer, which may return nil.
func ViewerOf(m Memory) Viewer {
	switch m := m.(type) {
	case Viewer:
		return m
	case interface{ Viewer() Viewer }:
		return m.Viewer()
	}
	return nil
}

// InPlace calls look, which reads what a [Viewer] shows, and returns [ErrGone] if those bytes are
// there no more: the file behind them was cut short, its disk fails, or the memory was closed
// meanwhile. The CPU then faults, which would end the whole program. What look had done until then
// remains done. The bytes are named by whoever calls, and a read of them by ReadPhys says how far
// they are good.
//
// What is left of the last page of a file that was cut within a page reads as zeros (mmap(2)): that
// nobody is told.
func InPlace(look func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // as runtime/debug promises of a fault
			err = ErrGone
		default:
			panic(fault)
		}
	}()
	look()
	return nil
}
