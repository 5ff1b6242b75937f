package module

import (
	"fmt"
	"sync/atomic"
)

// quota counts the bytes that are kept of the tables of all modules. It is safe for concurrent use.
type quota struct{ used atomic.Int64 }

// maxTables bounds the bytes that are kept of the tables of all modules. The symbols of 200 modules
// take some 20 MB.
const maxTables = 128 << 20

// take adds n bytes. If the total would exceed the limit, it returns an error and does not add
// them.
func (q *quota) take(n int) error {
	if q.used.Add(int64(n)) > maxTables {
		q.giveBack(n)
		return fmt.Errorf("the tables of all modules take more than %d MB together: damaged", maxTables>>20)
	}
	return nil
}

// giveBack subtracts n bytes that are not kept.
func (q *quota) giveBack(n int) { q.used.Add(int64(-n)) }
