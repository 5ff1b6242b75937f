package kmem

import (
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
)

// MaxDamage bounds how many pieces of damage are listed one by one.
const MaxDamage = 32

// Damage collects what is wrong with a result of which parts can be read. The zero value is ready
// for use.
type Damage struct {
	listed []error
	more   int
	Timeouts
}

// Add adds a piece of damage, formatted as by [fmt.Errorf].
func (d *Damage) Add(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	d.Note(err)
	if len(d.listed) == MaxDamage {
		d.more++
		return
	}
	d.listed = append(d.listed, err)
}

// Any reports whether there is any damage.
func (d *Damage) Any() bool { return len(d.listed) > 0 }

// List returns the damage in the order in which it was added; nil if there is none. Beyond a limit,
// only the number of further pieces is given.
func (d *Damage) List() []error {
	if d.more == 0 {
		return d.listed
	}
	return append(d.listed, fmt.Errorf("and %d more such", d.more))
}

// Reverse reverses the order of the damage that is listed.
func (d *Damage) Reverse() { slices.Reverse(d.listed) }

// Timeouts records whether a read that a value depends on timed out. A value that embeds it is read
// again by [Lazy] after a while.
type Timeouts struct{ timedOut bool }

// TimedOut reports whether a read timed out.
func (t Timeouts) TimedOut() bool { return t.timedOut }

// Note records the outcome of a read.
func (t *Timeouts) Note(err error) { t.timedOut = t.timedOut || errors.Is(err, bridge.ErrTimeout) }

// Include records the timeouts of another value that this one is made of.
func (t *Timeouts) Include(of Timeouts) { t.timedOut = t.timedOut || of.timedOut }
