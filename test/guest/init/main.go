// Command init is process 1 of a test guest: it sets the machine up, says everything it knows about it, starts the
// clock, and makes the kernel panic.
//
// The kernel command line tells it what to do:
//
//	physgdb.port=PORT      where notices go, on the host
//	physgdb.panic=HOW      how to die: sysrq (default), exit, none
//	physgdb.host=NAME      host name, with %XX for unusual bytes
//	physgdb.check=module   first see whether physgdb.ko behaves when it is loaded, misused and unloaded
package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The clock's time is sure to be stored, and the next second is far, when this much has passed since a tick.
const afterTick = 300 * time.Millisecond

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
	options, err := readOptions()
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(options.host)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := loadDrivers(); err != nil {
		return err
	}
	if err := startNetwork(); err != nil {
		return err
	}
	if options.check == "module" {
		if err := checkModule(options.port); err != nil {
			return fmt.Errorf("check of physgdb.ko: %w", err)
		}
	}
	if err := load(physgdb, target(options.port)); err != nil {
		return err
	}
	if err := startSleepers(2); err != nil {
		return err
	}
	c, err := startClock(options.port)
	if err != nil {
		return err
	}
	facts, err := collect(c)
	if err != nil {
		return err
	}
	if err := w.facts(facts); err != nil {
		return err
	}
	return untilPanic(c, w, options.panic)
}

// untilPanic passes the clock's ticks on and dies shortly after one. It does not return when all goes well.
func untilPanic(c *clock, w *reporter, how string) error {
	c.forget() // it may be a second old
	for {
		now, err := c.tick()
		if err != nil {
			return err
		}
		if err := w.tick(now); err != nil {
			return err
		}
		if how == "none" {
			continue
		}
		time.Sleep(afterTick)
		if len(c.ticks) > 0 {
			continue // on a busy host the sleep took so long that the clock has ticked again
		}
		still, err := holdStill(c)
		if err != nil {
			return err
		}
		if err := w.still(still); err != nil {
			return err
		}
		if err := w.panic(how); err != nil {
			return err
		}
		return die(how)
	}
}

// options are what the kernel command line asks for.
type options struct {
	port  string
	panic string
	host  string
	check string
}

func readOptions() (*options, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	o := &options{panic: "sysrq", host: "guest"}
	for word := range strings.FieldsSeq(string(text)) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "physgdb.port":
			o.port = value
		case "physgdb.panic":
			o.panic = value
		case "physgdb.check":
			o.check = value
		case "physgdb.host":
			if o.host, err = url.PathUnescape(value); err != nil {
				return nil, fmt.Errorf("physgdb.host=%s: %w", value, err)
			}
		}
	}
	if o.port == "" {
		return nil, fmt.Errorf("no physgdb.port= on the kernel command line %q", text)
	}
	return o, nil
}
