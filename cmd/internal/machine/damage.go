package machine

import "fmt"

// DamageError says that a list is incomplete because the target's memory is damaged. What could be
// read is returned with it.
type DamageError struct {
	What   string // the list
	Places []error
}

// NewDamageError returns a [*DamageError], or nil if there is no damage.
func NewDamageError(what string, places []error) error {
	if len(places) == 0 {
		return nil
	}
	return &DamageError{what, places}
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: the list is incomplete: damaged places: %d, the first: %v", e.What, len(e.Places), e.Places[0])
}

// Unwrap returns the damaged places.
func (e *DamageError) Unwrap() []error { return e.Places }
