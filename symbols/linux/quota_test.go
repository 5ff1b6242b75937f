package linux

import (
	"strings"
	"testing"
)

func TestQuotaIsSharedByAll(t *testing.T) {
	var q quota
	const part = maxModuleTables / 4
	for i := range 4 {
		if err := q.take(part, "table"); err != nil {
			t.Errorf("part %d: %v", i, err)
		}
	}
	for range 2 {
		if err := q.take(1, "one more"); err == nil || !strings.Contains(err.Error(), "one more") {
			t.Errorf("beyond the quota: %v", err)
		}
	}
}
