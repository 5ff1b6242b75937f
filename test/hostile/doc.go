// Package hostile makes memory images that an attacker could create, and runs every command of
// physgdb on them.
//
// [Attacks] is the table of the attacks: each changes a copy of the memory of a real dead machine.
// [Mutate] changes the kernel's tables at random. [OtherAttacks] names the tests that make the
// other attacks. On every image there must be no crash and no hang, at most [MaxMemory], an end
// within [MaxTime], and output that a terminal does not obey.
package hostile

import "time"

// The limits for every hostile image.
const (
	// MaxMemory is the limit for a process's own memory, in bytes. The image, mapped from its file,
	// is not counted.
	MaxMemory = 512 << 20
	// MaxTime is the time limit for a command outside of a debugger.
	MaxTime = 30 * time.Second
	// MaxAnswer is the time limit for the answer to a debugger: the deadline of a request plus the
	// transfer.
	MaxAnswer = 4*time.Second + 500*time.Millisecond
)

// Attack is one way to change a dead machine's memory.
type Attack struct {
	// Surface is the part of the machine that the attack uses.
	Surface string
	Name    string
	// Changes describes what the attacker has written.
	Changes string
	// Make changes an image.
	Make func(im *Image) error
	// Commands are the commands that read the changed memory, without SOURCE, in addition to those
	// for every image.
	Commands [][]string
	// Says is a text that one of Commands must print, on stdout or stderr; "" for any.
	Says string
}
