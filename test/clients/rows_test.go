package clients

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// action is a row: an action of a user on a dead machine, independent of the client.
type action struct {
	name string
	// check compares what a client showed with what is known of the machine.
	check func(w *witness, o outcome) error
}

// The actions, by name.
const (
	attach      = "attach"
	relocated   = "kernel relocated"
	backtrace   = "bt"
	threads     = "info threads"
	printing    = "print a struct"
	disassembly = "x/20i"
	finding     = "find"
	showCR3     = "info registers cr3"
	setCR3      = "set $cr3"
	ofModule    = "module symbols"
	resume      = "continue"
	step        = "next"
	breakpoint  = "break"
	setVar      = "set var"
	ctrlC       = "Ctrl-C"
	unmapped    = "read unmapped"
	detach      = "detach"
	reattach    = "reattach"
	crowded     = "2000 threads"
)

// rows are the actions of one session, in order.
var rows = []action{
	{attach, showsPanic},
	{relocated, func(w *witness, o outcome) error {
		if !strings.Contains(o.text, "Linux version "+w.guest.Facts.Release+" ") {
			return errors.New("not the banner")
		}
		return o.shows(w.addressOf("init_task"), w.addressOf("vfs_read"))
	}},
	{backtrace, followsCallTrace},
	{threads, listsTasks},
	{printing, func(_ *witness, o outcome) error { return o.says(`swapper/0`) }},
	{disassembly, func(w *witness, o outcome) error { return o.shows(w.instructions...) }},
	{finding, func(w *witness, o outcome) error { return o.shows(w.search.hits...) }},
	{showCR3, showsCR3},
	{setCR3, func(w *witness, o outcome) error { return o.shows(uint64(w.guest.Facts.LastClock)) }},
	{ofModule, func(w *witness, o outcome) error { return o.shows(w.oopsInner) }},
	{resume, cannotRun},
	{step, cannotRun},
	{breakpoint, func(w *witness, o outcome) error {
		return errors.Join(o.says(`(?i)cannot insert breakpoint|sending the breakpoint request|"verified":false`), o.works(w))
	}},
	{setVar, func(w *witness, o outcome) error {
		return errors.Join(o.says(`(?i)cannot access memory|only reads|memory write failed|couldn't write to memory`), o.works(w))
	}},
	{unmapped, func(w *witness, o outcome) error {
		return errors.Join(o.says(`(?i)cannot access memory|unable to read memory|memory read failed`), o.works(w))
	}},
	{detach, func(_ *witness, o outcome) error { return o.says(`(?i)detached|\^done|"success":true`) }},
	{reattach, showsPanic},
	{ctrlC, cannotRun},
}

// crowdRow is executed on a machine of its own.
var crowdRow = action{crowded, listsTasks}

// showsPanic checks that the client shows the function in which the machine died.
func showsPanic(w *witness, o outcome) error { return o.says(`\b` + w.calls()[0] + `\b`) }

// followsCallTrace checks for the functions of the kernel's own trace in their order. A client also
// shows inlined functions, and beyond the entry frames that it derived from saved registers; it
// gives parts of functions the name of the whole.
func followsCallTrace(w *witness, o outcome) error {
	rest := o.items
	for _, want := range w.calls() {
		name, _, _ := strings.Cut(want, ".")
		i := slices.IndexFunc(rest, func(got string) bool {
			got, _, _ = strings.Cut(got, ".")
			return got == name || strings.HasPrefix(got, "entry_") && strings.HasPrefix(name, got)
		})
		if i < 0 {
			return fmt.Errorf("%s is missing in %q", want, o.items)
		}
		rest = rest[i+1:]
	}
	return nil
}

// noTID precedes the name of a thread in a list without TIDs.
const noTID = "? "

// listsTasks checks for every task with its name, except kernel workers, which start and exit at
// any time.
func listsTasks(w *witness, o outcome) error {
	var missing []string
	left := slices.Clone(o.items)
	for _, t := range w.guest.Facts.Threads {
		if strings.HasPrefix(t.Comm, "kworker/") {
			continue
		}
		item := fmt.Sprint(t.TID, " ", t.Comm)
		i := slices.IndexFunc(left, func(got string) bool { return got == item || got == noTID+t.Comm })
		if i < 0 {
			missing = append(missing, item)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if missing != nil {
		return fmt.Errorf("of %d threads %d are missing: %.200q", len(o.items), len(missing), missing)
	}
	return nil
}

// showsCR3 checks for the CR3 that the kernel printed when it died, ignoring its PCID and the half
// of a KPTI pair.
func showsCR3(w *witness, o outcome) error {
	const flags = 0x1fff
	want := w.guest.Facts.OopsRegisters["cr3"] &^ flags
	if !slices.ContainsFunc(o.numbers(), func(n uint64) bool { return n&^flags == want }) {
		return fmt.Errorf("no %#x", want)
	}
	return nil
}

// cannotRun checks for the refusal, and that the client still works.
func cannotRun(w *witness, o outcome) error {
	return errors.Join(o.says(`This machine is dead \(panicked: .*it cannot run`), o.works(w))
}

// works checks that the client showed a variable's value after the action.
func (o outcome) works(w *witness) error {
	if err := o.shows(w.jiffies); err != nil {
		return fmt.Errorf("the client does not continue: jiffies: %w", err)
	}
	return nil
}

// says checks that the output matches a regular expression.
func (o outcome) says(pattern string) error {
	if !regexp.MustCompile(pattern).MatchString(o.text) {
		return fmt.Errorf("no %q", pattern)
	}
	return nil
}

// shows checks that the output contains numbers.
func (o outcome) shows(want ...uint64) error {
	got := o.numbers()
	for _, n := range want {
		if !slices.Contains(got, n) {
			return fmt.Errorf("no %#x", n)
		}
	}
	return nil
}

var number = regexp.MustCompile(`\b(0x[0-9a-fA-F]+|[0-9]+)\b`)

// numbers returns all numbers in the output, decimal or hexadecimal.
func (o outcome) numbers() []uint64 {
	var all []uint64
	for _, text := range number.FindAllString(o.text, -1) {
		base := 10
		if digits, ok := strings.CutPrefix(text, "0x"); ok {
			text, base = digits, 16
		}
		if n, err := strconv.ParseUint(text, base, 64); err == nil {
			all = append(all, n)
		}
	}
	return all
}
