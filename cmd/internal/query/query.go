//go:generate sh -c "cd ../../.. && go run ./cmd/internal/gen json > docs/json.md"

// Package query answers questions about a machine with values: its tasks, backtraces, log, modules,
// mappings and so on. Package render writes them as text and JSON.
//
// A query that is incomplete returns what it found together with an error that says what is
// missing: a [*machine.DamageError] if the target's memory is damaged. The JSON field names are
// documented in docs/json.md.
package query

import (
	"fmt"

	"physgdb/cmd/internal/machine"
)

// Address is an address or another number that users read in hexadecimal. In JSON it is a string
// such as "0x1f", because JSON numbers lose the last bits of an address.
type Address uint64

func (a Address) String() string { return fmt.Sprintf("%#x", uint64(a)) }

// MarshalText returns the address as JSON shows it.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// damage returns a [*machine.DamageError] that does not name the list, or nil if there is no
// damage.
func damage(places []error) error { return machine.NewDamageError("", places) }

// notFound returns the error for what was asked for and is missing; if the list is damaged, it may
// be missing because of that.
func notFound(missing, damage error) error {
	switch {
	case missing == nil:
		return damage
	case damage == nil:
		return missing
	}
	return fmt.Errorf("%w, or it was lost: %w", missing, damage)
}
