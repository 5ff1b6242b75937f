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

// View returns the n bytes at addr in place, or false if m cannot show them; see [Viewer].
func View(m Memory, addr PhysAddr, n int) ([]byte, bool) {
	if v := ViewerOf(m); v != nil {
		return v.View(addr, n)
	}
	return nil, false
}

// InPlace calls look, which reads bytes returned by a [Viewer]. It returns [ErrGone] if these bytes
// no longer exist: the mapped file was truncated, its disk failed, or the memory was closed. The
// CPU then faults, which would otherwise end the program. Effects of look before the fault remain.
// The error does not contain the address, which the caller knows; ReadPhys of the same bytes
// returns how many are good.
//
// If a file is truncated within a page, the rest of that page reads as zeros (mmap(2)); this is not
// detected.
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
