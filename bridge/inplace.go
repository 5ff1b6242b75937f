package bridge

import "runtime/debug"

// InPlace calls look, which reads what a [Viewer] shows, and returns [ErrGone] if those bytes are there no more: the file
// behind them was cut short, its disk fails, or the memory was closed meanwhile. The CPU then faults, which would end the
// whole program. What look had done until then remains done. The bytes are named by whoever calls, and a read of them by
// ReadPhys says how far they are good.
//
// What is left of the last page of a file that was cut within a page reads as zeros (mmap(2)): that nobody is told.
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

// copyInPlace copies src, which is shown in place, to dst and returns how much of its start that was: all unless some of it
// is gone.
func copyInPlace(dst, src []byte) (n int) {
	if InPlace(func() { n = copy(dst, src) }) == nil {
		return n
	}
	n = 0 // nobody knows in which order bytes are copied
	for step := 512; step > 0; step /= 8 {
		for n < len(src) && InPlace(func() { copy(dst[n:], src[n:min(len(src), n+step)]) }) == nil {
			n = min(len(src), n+step)
		}
	}
	return n
}
