package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/test/guest/witness"
)

// reporter writes records to the second serial port, where the kernel's messages do not go.
type reporter struct{ port *os.File }

func newReporter() (*reporter, error) {
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the witness's serial port: %w", err)
	}
	return &reporter{port: port}, nil
}

func (w *reporter) facts(f *witness.Facts) error { return w.send(&witness.Record{Facts: f}) }
func (w *reporter) tick(now int64) error         { return w.send(&witness.Record{Clock: now}) }
func (w *reporter) still(s *witness.Still) error { return w.send(&witness.Record{Still: s}) }
func (w *reporter) threads(t []witness.Thread) error {
	return w.send(&witness.Record{Threads: t})
}
func (w *reporter) stacks(s *witness.Piece) error { return w.send(&witness.Record{Stacks: s}) }
func (w *reporter) panic(how string) error        { return w.send(&witness.Record{Panic: how}) }
func (w *reporter) failed(err error)              { _ = w.send(&witness.Record{Error: err.Error()}) }

// capture sends the report of a kernel that captures a dump, and does not return.
func (w *reporter) capture() error {
	r := &reader{}
	f := r.kernel()
	if r.err != nil {
		return r.err
	}
	if err := w.send(&witness.Record{Capture: f}); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour) // process 1 must not end
	}
}

// send returns when the line was transmitted: nothing is transmitted after a panic.
func (w *reporter) send(r *witness.Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := w.port.Write(append(line, '\n')); err != nil {
		return err
	}
	const tcdrain = 1
	return restart(func() error { return unix.IoctlSetInt(int(w.port.Fd()), unix.TCSBRK, tcdrain) })
}
