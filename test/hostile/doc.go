// Package hostile makes memory images that an attacker could have left, and runs every command of
// physgdb on them.
//
// [Attacks] is the table of the attacks: each changes a copy of the memory of a real dead machine.
// [Mutate] changes the kernel's tables at random. [OtherAttacks] names the tests that make the
// other attacks. On every image there must be no crash and no hang, at most [MaxMemory], an end
// within [MaxTime], and output that a terminal does not obey.
package hostile

import "time"

// What must hold on every hostile image.
const (
	// MaxMemory is what a process may take of memory of its own, in bytes. The image, mapped from
	// its file, is not counted.
	MaxMemory = 512 << 20
	// MaxTime is how long a command may take that no debugger waits for.
	MaxTime = 30 * time.Second
	// MaxAnswer is how long a debugger waits for an answer at most: the deadline of a request and a
	// little for the way.
	MaxAnswer = 4*time.Second + 500*time.Millisecond
)

// Attack is one way to change a dead machine's memory.
type Attack struct {
	// Surface is what of the machine the attack uses.
	Surface string
	Name    string
	// Changes says what the attacker has written.
	Changes string
	// Make changes an image.
	Make func(im *Image) error
	// Commands are those that read what was changed, without SOURCE, in addition to those that are
	// run on every image.
	Commands [][]string
	// Says is what one of Commands has to print, on stdout or stderr; empty for nothing in
	// particular.
	Says string
}
