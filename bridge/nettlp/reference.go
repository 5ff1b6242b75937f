package nettlp

import "time"

// stampLife is how long a stamp can serve as a reference. The tick wraps after 27 s (17 s should it
// be one of 4 ns, as a comment in the adapter's source has it), and stamps further apart than half
// of that cannot be compared.
const stampLife = 5 * time.Second

// reference is the newest stamp that was received. It distinguishes answers from stale duplicates.
// The zero value knows none.
type reference struct {
	stamp Stamp
	at    time.Duration // when it came, on the batch's clock
	known bool
}

// fresh reports whether a completion with stamp s can answer a request that was sent when r was the
// newest.
func (r *reference) fresh(s Stamp) bool { return !r.known || s.After(r.stamp) }

// note records the stamp of a valid completion. Adapters that do not stamp send zeros.
func (r *reference) note(s Stamp, now time.Duration) {
	if s != (Stamp{}) && r.fresh(s) {
		*r = reference{s, now, true}
	}
}

// expire drops a stamp that is too old to be compared with.
func (r *reference) expire(now time.Duration) {
	if r.known && now-r.at > stampLife {
		*r = reference{}
	}
}
