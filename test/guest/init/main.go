// Command init is process 1 of a test guest: it sets up the machine, starts the clock, reports
// facts about the machine, and makes the kernel panic.
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

// At this time after a tick, the clock has stored its time and the next tick is not near.
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
	// Process 1 must not end: that panics, and would look like the configured panic.
	select {}
}

// live runs the guest from the mounted file systems to its panic.
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

// bringUp sets up the network and loads physgdb.ko.
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

// remain forwards the clock's ticks and does not return.
func remain(c *clock, w *reporter) error {
	if err := reportThreads(w); err != nil {
		return err
	}
	for {
		if err := passTick(c, w); err != nil {
			return err
		}
	}
}

// untilPanic forwards the clock's ticks and panics shortly after one. It returns only on an error.
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
		if err := reportThreads(w); err != nil {
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

// rest completes this program's background work, which would otherwise return memory to the kernel
// at any time, on a CPU that must be idle.
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
