package main

import (
	"testing"

	"physgdb/test/guest/witness"
)

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       witness.Thread
	}{
		{
			name: "a user thread",
			stat: "148 (clock) T 1 0 0 0 -1 4194304 123 0 0 0 1 2 0 0 20 0",
			want: witness.Thread{Comm: "clock", State: "T", PPID: 1},
		},
		{
			name: "a kernel thread",
			stat: "9 (kworker/0:0-events) I 2 0 0 0 -1 69238880 0",
			want: witness.Thread{Comm: "kworker/0:0-events", State: "I", PPID: 2, Kernel: true},
		},
		{
			name: "a name with parentheses and blanks",
			stat: "7 (a) S 5 (b) R 3 0 0 0 -1 0 0",
			want: witness.Thread{Comm: "a) S 5 (b", State: "R", PPID: 3},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseStat(c.stat)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestParseStatRefuses(t *testing.T) {
	for _, stat := range []string{
		"", "1", "1 init S 0 0 0 0 -1 0", "1 )init( S 0 0 0 0 -1 0", "1 (init) S 0 0 0 0 -1", "1 (init) S x 0 0 0 -1 0",
		"1 (init) S 0 0 0 0 -1 x",
	} {
		if got, err := parseStat(stat); err == nil {
			t.Errorf("%q: got %+v", stat, got)
		}
	}
}

// This id is above the kernel's limit of 4 million.
func TestReadExitedThread(t *testing.T) {
	if _, err := readThread("/proc/4194305"); err != errGone {
		t.Errorf("got error %v, want %v", err, errGone)
	}
}
