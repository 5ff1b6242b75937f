package module

import (
	"fmt"
	"sync/atomic"
)

// quota counts the bytes that are kept of tables of one kind, of all modules together. It is safe for concurrent use.
type quota struct{ used atomic.Int64 }

// maxTables bounds what is kept of the tables of all modules together, in bytes. The symbols of 200 modules take some 20
// MB.
const maxTables = 128 << 20

// take counts n bytes. The error says that there would be too many, and then they are not counted.
func (q *quota) take(n int) error {
	if q.used.Add(int64(n)) > maxTables {
		q.giveBack(n)
		return fmt.Errorf("the tables of all modules take more than %d MB together: damaged", maxTables>>20)
	}
	return nil
}

// giveBack takes n bytes off the count, as they are not kept.
func (q *quota) giveBack(n int) { q.used.Add(int64(-n)) }
