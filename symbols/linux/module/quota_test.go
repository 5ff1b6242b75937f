package module

import (
	"strings"
	"testing"
)

func TestQuota(t *testing.T) {
	var q quota
	const part = maxTables / 4
	for i := range 4 {
		if err := q.take(part); err != nil {
			t.Errorf("part %d: %v", i, err)
		}
	}
	q.giveBack(part)
	if err := q.take(part); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := q.take(1); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("beyond the quota: %v", err)
		}
	}
}
