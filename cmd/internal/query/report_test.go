package query

import (
	"testing"

	"physgdb/symbols/linux/klog"
)

func TestFirstReported(t *testing.T) {
	log := func(n int, said map[int]string) []klog.Record {
		records := make([]klog.Record, n)
		for i, text := range said {
			records[i].Text = text
		}
		return records
	}
	for _, tc := range []struct {
		name string
		log  []klog.Record
		want int
	}{
		{"none", nil, 0},
		{"a short one", log(20, nil), 0},
		{"a long one", log(120, nil), 70},
		{"an oops long before", log(120, map[int]string{30: "Oops: Oops: 0002 [#1] PREEMPT SMP PTI"}), 22},
		{"an oops of older kernels", log(120, map[int]string{30: "invalid opcode: 0000 [#1] PREEMPT SMP"}), 22},
		{"an oops among the last", log(120, map[int]string{100: "Oops: 0000 [#1]"}), 70},
		{"an oops at the start", log(120, map[int]string{3: "Oops: 0000 [#1]"}), 0},
		{"the first of two", log(120, map[int]string{30: "Oops: 0000 [#1]", 60: "Oops: 0000 [#2]"}), 22},
		{"what only looks like one", log(120, map[int]string{30: "usb [#1] connected"}), 70},
	} {
		if got := firstReported(tc.log); got != tc.want {
			t.Errorf("%s: from %d on, want %d", tc.name, got, tc.want)
		}
	}
}
