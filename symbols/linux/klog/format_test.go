package klog

import (
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	boot := time.Date(2024, time.March, 5, 7, 8, 9, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		format Format
		record Record
		want   string
	}{
		{"a line", Format{}, Record{Time: 1234567890, Text: "hello"}, "[    1.234567] hello\n"},
		{"no time yet", Format{}, Record{Text: "hello"}, "[    0.000000] hello\n"},
		{"a week", Format{}, Record{Time: 7 * 24 * time.Hour, Text: "hello"}, "[604800.000000] hello\n"},
		{"no text", Format{}, Record{Time: 5}, "[    0.000000] \n"},
		{
			"lines", Format{}, Record{Time: time.Second, Text: "a\n\n b\n"},
			"[    1.000000] a\n[    1.000000] \n[    1.000000]  b\n[    1.000000] \n",
		},
		{"a thread", Format{Caller: true}, Record{Caller: 1, Text: "x"}, "[    0.000000][    T1] x\n"},
		{"a CPU", Format{Caller: true}, Record{Caller: 1<<31 | 12, Text: "x"}, "[    0.000000][   C12] x\n"},
		{
			"by the clock on the wall", Format{Boot: boot}, Record{Time: 61500 * time.Millisecond, Text: "x"},
			"[Tue Mar  5 07:09:10 2024] x\n",
		},
		{
			"what a terminal would obey", Format{}, Record{Text: "\x1b[2Jä\t\xff\u009b\r"},
			"[    0.000000] \\x1b[2Jä\t\\xff\\u009b\\x0d\n",
		},
	} {
		if got := tc.format.Format(&tc.record); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestCaller(t *testing.T) {
	for caller, want := range map[Caller]string{42: "T42", 0: "T0", 1<<31 | 3: "C3", 1 << 31: "C0"} {
		if got := caller.String(); got != want {
			t.Errorf("%#x is %s, want %s", uint32(caller), got, want)
		}
	}
}
