// Command clock is the process that tests inspect in a dead guest's memory. Once a second, it
// stores the time in a variable and prints it.
//
//	clock HOST:PORT
//
// First it reads the description of its address space from /proc/physgdb and sends it to HOST:PORT
// as a datagram, and prints the FS base of its main thread.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tick is one tick of the clock.
type Tick struct {
	// Unix is the time in seconds since 1970.
	Unix int64
	// Number counts ticks from 1.
	Number uint32
	// Even is true if Unix is even.
	Even bool
	// Label is Unix in decimal, padded with zero bytes.
	Label [12]byte
}

// The variables for debuggers. Exported variables of package main are not optimized away; their
// names in gdb are main.UnixTimeNow and so on.
var (
	// UnixTimeNow is the time in seconds since 1970 as of the last tick.
	UnixTimeNow int64
	// Last is the last tick.
	Last Tick
	// History holds the last eight ticks; tick n is at index n % 8.
	History [8]Tick
	// Name is the name of this process.
	Name = "physgdb test clock"
)

// The main goroutine stays on the main thread, whose FS base it prints.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "clock:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, HOST:PORT, not %d", len(args))
	}
	line, err := hello(args[0])
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	fmt.Printf("clock: hello %s\n", strings.TrimSuffix(string(line), "\n"))
	base, err := fsBase()
	if err != nil {
		return fmt.Errorf("ask for the FS base: %w", err)
	}
	fmt.Printf("clock: fs_base %#x\n", base)
	for number := uint32(1); ; number++ {
		store(time.Now().Unix(), number)
		fmt.Printf("clock: %d\n", UnixTimeNow)
		time.Sleep(time.Second)
	}
}

// hello must run in this process: /proc/physgdb describes its reader. Without physgdb.ko there is
// no such file, and no datagram.
func hello(to string) ([]byte, error) {
	line, err := os.ReadFile("/proc/physgdb")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, err = c.Write(line)
	return line, err
}

// fsBase returns the FS base of the calling thread.
func fsBase() (base uint64, err error) {
	const getFS = 0x1003 // ARCH_GET_FS of arch/x86/include/uapi/asm/prctl.h
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, getFS, uintptr(unsafe.Pointer(&base)), 0)
	if errno != 0 {
		return 0, errno
	}
	return base, nil
}

func store(now int64, number uint32) {
	UnixTimeNow = now
	Last = Tick{Unix: now, Number: number, Even: now%2 == 0}
	copy(Last.Label[:], fmt.Sprint(now))
	History[number%uint32(len(History))] = Last
}
