// Command init is process 1 of a test guest: it sets the machine up, starts the clock, says
// everything it knows about the machine, and makes the kernel panic.
//
// The kernel command line configures it:
//
//	physgdb.port=PORT      where notices go, on the host
//	physgdb.panic=HOW      how to die: sysrq (default), exit, oops, bug, hung, irq, irq-user, nmi, chain, kdump, kexec; none;
//	                       kprobe, livepatch: see instrumented.go
//	physgdb.instrument=X,… what changes stacks: graph, kretprobe, fexit, sleepable, module; see instrumented.go
//	physgdb.other=WHAT     what the CPUs that do not panic are doing: idle (default), user
//	physgdb.threads=N      start a process with so many threads
//	physgdb.modules=N      load so many modules dummy_000, dummy_001…
//	physgdb.host=NAME      host name, with %XX for unusual bytes
//	physgdb.check=module   first see whether physgdb.ko behaves when it is loaded, misused and unloaded
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// The clock's time is sure to be stored, and the next second is far, when this much has passed
// since a tick.
const afterTick = 300 * time.Millisecond

// maxTicks is the number of ticks that may come too soon before the clock is stopped anyway.
const maxTicks = 5

func main() {
	if filepath.Base(os.Args[0]) == sleeper {
		sleep()
	}
	var w *reporter
	err := setUp()
	if err == nil {
		if w, err = newReporter(); err == nil {
			err = live(w)
		}
	}
	fmt.Println("init:", err)
	if w != nil {
		w.failed(err)
	}
	// Process 1 must not end: that panics, and would look like the panic that was asked for.
	select {}
}

// live runs the guest from the mounted file systems to its death.
func live(w *reporter) error {
	o, err := readOptions()
	if err != nil {
		return err
	}
	if capturesDump() {
		return w.capture()
	}
	steps := []func(*options) error{
		bringUp, instrument, startSleepers, startCompat, prepareTrouble, loadDummies, startCrowd, loadSecond,
	}
	for _, step := range steps {
		if err := step(o); err != nil {
			return err
		}
	}
	c, err := startClock(o.port)
	if err != nil {
		return err
	}
	shelf, err := openShelf()
	if err != nil {
		return fmt.Errorf("memory shared with the host: %w", err)
	}
	facts, err := collect(c)
	if err != nil {
		return err
	}
	if facts.AllKallsyms, err = shelf.put(allKallsyms); err != nil {
		return err
	}
	if err := w.facts(facts); err != nil {
		return err
	}
	if err := takePlaces(o); err != nil {
		return err
	}
	if o.panic == "none" {
		return remain(c, w)
	}
	return untilPanic(c, w, shelf, o)
}

// bringUp makes a machine with a network, whose death will be known.
func bringUp(o *options) error {
	if err := unix.Sethostname([]byte(o.host)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if _, err := os.Stat("/sys/class/net"); err != nil {
		return nil // a kernel without a network, see test/guest/custom
	}
	if err := loadDrivers(); err != nil {
		return err
	}
	if err := startNetwork(); err != nil {
		return err
	}
	if o.check == "module" {
		if err := checkModule(o.port); err != nil {
			return fmt.Errorf("check of physgdb.ko: %w", err)
		}
	}
	if _, err := os.Stat(physgdb); err != nil {
		return nil // it could not be built for this kernel
	}
	return load(physgdb, target(o.port))
}

// remain passes the clock's ticks on for ever.
func remain(c *clock, w *reporter) error {
	if err := tellThreads(w); err != nil {
		return err
	}
	for {
		if err := passTick(c, w); err != nil {
			return err
		}
	}
}

// untilPanic passes the clock's ticks on and dies shortly after one. It does not return when all
// goes well.
func untilPanic(c *clock, w *reporter, s *shelf, o *options) error {
	c.forget() // it may be a second old
	for attempt := 0; ; attempt++ {
		if err := passTick(c, w); err != nil {
			return err
		}
		time.Sleep(afterTick)
		if len(c.ticks) > 0 && attempt < maxTicks {
			continue // on a busy host the sleep took so long that the clock has ticked again
		}
		still, err := holdStill(c)
		if err != nil {
			return err
		}
		if len(c.ticks) > 0 {
			if err := passTick(c, w); err != nil {
				return err
			}
		}
		if err := w.still(still); err != nil {
			return err
		}
		if err := tellThreads(w); err != nil {
			return err
		}
		if err := reportStacks(w, s); err != nil {
			return err
		}
		if err := w.panic(o.panic); err != nil {
			return err
		}
		rest()
		return die(o.panic)
	}
}

// reportStacks writes the stacks of all threads, if the host has shared memory for them.
func reportStacks(w *reporter, s *shelf) error {
	piece, err := s.put(sleepStacks)
	if err != nil || piece == nil {
		return err
	}
	if err := w.stacks(piece); err != nil {
		return err
	}
	return s.close()
}

// rest leaves this program's own background work with nothing to do: it would give memory back to
// the kernel whenever it likes, on a CPU that is to be found idle.
func rest() {
	debug.SetGCPercent(-1)
	debug.FreeOSMemory()
}

func passTick(c *clock, w *reporter) error {
	now, err := c.tick()
	if err != nil {
		return err
	}
	return w.tick(now)
}
