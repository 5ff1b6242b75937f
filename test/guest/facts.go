package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"physgdb/test/guest/witness"
)

// Facts are facts about a guest, from sources that are independent of the code under test.
type Facts struct {
	witness.Facts
	witness.Still // empty if the guest is running
	Death
	// Threads are all threads shortly before the panic, ordered by process and thread id. Kernel
	// workers start and exit at any time.
	Threads []witness.Thread `json:"threads"`
	// ClockCR3 is the page table of the clock process, as it read it from /proc/physgdb; 0 without
	// physgdb.ko.
	ClockCR3 uint64 `json:"clock_cr3"`
	// LastClock is the last value of the clock's variable UnixTimeNow.
	LastClock int64 `json:"last_clock"`
	// Capture is the report of the capture kernel of kdump; nil if none was started.
	Capture *witness.Facts `json:"capture,omitempty"`
	// Before is the report of the kernel that started this one by kexec; nil if there is none.
	Before *witness.Facts `json:"before,omitempty"`
}

// gatherFacts collects the reports of the guest on both of its serial ports.
func (g *Guest) gatherFacts() error {
	said, err := readWitness(g.path(witnessFile))
	if err != nil {
		return err
	}
	if said.facts == nil {
		return errors.New("the guest has reported nothing about itself")
	}
	g.Facts = Facts{
		Facts: *said.facts, Threads: said.threads, LastClock: said.lastClock, Capture: said.capture,
		Before: said.before,
	}
	if said.still != nil {
		g.Facts.Still = *said.still
	}
	if g.Facts.ClockCR3, err = helloCR3(said.facts.ClockHello); err != nil {
		return err
	}
	log, err := g.KernelLog()
	if err != nil {
		return err
	}
	if g.Facts.Capture != nil {
		log = firstBoot(log)
	}
	g.Facts.Death = ParseDeath(log)
	return nil
}

// firstBoot returns the lines of the first kernel in a log.
func firstBoot(log []LogLine) []LogLine {
	boots := 0
	for i, line := range log {
		if strings.HasPrefix(line.Text, "Linux version ") {
			boots++
		}
		if boots == 2 {
			return log[:i]
		}
	}
	return log
}

// AllKallsyms returns the guest's /proc/kallsyms; see [Config.Full].
func (g *Guest) AllKallsyms() (string, error) { return g.piece(g.Facts.AllKallsyms) }

// Stacks returns the kernel stacks of all threads that slept when the guest was about to panic; see
// [Config.Full].
func (g *Guest) Stacks() ([]witness.Stack, error) {
	said, err := readWitness(g.path(witnessFile))
	if err != nil {
		return nil, err
	}
	text, err := g.piece(said.stacks)
	if err != nil {
		return nil, err
	}
	var all []witness.Stack
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("read the guest's stacks: %w", err)
	}
	return all, nil
}

// piece reads a text from the memory that the guest shares with the host.
func (g *Guest) piece(p *witness.Piece) (string, error) {
	if p == nil {
		return "", errors.New("the guest shares no memory with the host")
	}
	f, err := os.Open(g.path(shelfFile))
	if err != nil {
		return "", fmt.Errorf("read what the guest says: %w", err)
	}
	defer f.Close()
	text := make([]byte, p.Size)
	if _, err := f.ReadAt(text, int64(p.Offset)); err != nil {
		return "", fmt.Errorf("read what the guest says: %w", err)
	}
	return string(text), nil
}

// helloCR3 takes the page table out of a line of /proc/physgdb; 0 if there is none.
func helloCR3(line string) (uint64, error) {
	if line == "" {
		return 0, nil
	}
	var hello struct {
		CR3 string `json:"cr3"`
	}
	if err := json.Unmarshal([]byte(line), &hello); err != nil {
		return 0, fmt.Errorf("the clock's hello %q: %w", line, err)
	}
	cr3, err := strconv.ParseUint(strings.TrimPrefix(hello.CR3, "0x"), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("the clock's hello %q: cr3: %w", line, err)
	}
	return cr3, nil
}

// testimony has the records from the second serial port so far.
type testimony struct {
	facts     *witness.Facts
	before    *witness.Facts
	capture   *witness.Facts
	lastClock int64
	still     *witness.Still
	threads   []witness.Thread
	stacks    *witness.Piece
	panic     string
	failure   string
}

func readWitness(file string) (*testimony, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read what the guest says: %w", err)
	}
	said := new(testimony)
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // incomplete
		}
		var r witness.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("read what the guest says: %.80q: %w", line, err)
		}
		said.add(&r)
	}
	return said, nil
}

func (t *testimony) add(r *witness.Record) {
	switch {
	case r.Facts != nil:
		t.before, t.facts = t.facts, r.Facts
		t.lastClock, t.still, t.threads = 0, nil, nil // those are from another kernel
	case r.Capture != nil:
		t.capture = r.Capture
	case r.Clock != 0:
		t.lastClock = r.Clock
	case r.Still != nil:
		t.still = r.Still
	case r.Threads != nil:
		t.threads = r.Threads
	case r.Stacks != nil:
		t.stacks = r.Stacks
	case r.Panic != "":
		t.panic = r.Panic
	case r.Error != "":
		t.failure = r.Error
	}
}
