package linux

import (
	"errors"
	"testing"

	"physgdb/mmu"
)

func TestTaint(t *testing.T) {
	const at = base + 0x180000
	w := newWorld(t, nil, map[string]uint64{"tainted_mask": at})
	w.Put(at, 1<<7|1<<12)
	if taint, err := w.Taint(ctx); err != nil || taint.String() != "DO" {
		t.Errorf("%v, %v", taint, err)
	}
	w.Put(at, 0)
	if taint, err := w.Taint(ctx); err != nil || taint.String() != "not tainted" {
		t.Errorf("%v, %v", taint, err)
	}
	w = newWorld(t, nil, map[string]uint64{"tainted_mask": 0xffffc90000000000})
	if taint, err := w.Taint(ctx); !errors.Is(err, mmu.ErrNotPresent) {
		t.Errorf("%v, %v", taint, err)
	}
}

func TestPanicMessages(t *testing.T) {
	const interrupt = 1<<31 | 1
	log := func(caller uint32, text string) LogLine { return LogLine{caller, text} }
	for _, tc := range []struct {
		name                   string
		oopses                 int
		log                    []LogLine
		message, cause, before string
	}{
		{name: "nothing in the log", oopses: 1},
		{name: "no panic", oopses: 1, log: []LogLine{log(5, "BUG: a")}},
		{name: "a panic alone", log: []LogLine{log(5, "a"), log(5, PanicPrefix+" b")}, message: "b"},
		{name: "a message of its own", log: []LogLine{log(5, PanicPrefix), log(5, "b"), log(5, "c")}, message: "b"},
		{name: "no message", log: []LogLine{log(5, PanicPrefix), log(6, "b")}},
		{name: "what looks like an oops, and none was counted", message: "b",
			log: []LogLine{log(5, "BUG: a"), log(5, PanicPrefix+" b")}},
		{name: "an oops that led to it", oopses: 1, message: "Fatal exception", cause: "BUG: a",
			log: []LogLine{log(5, "BUG: a\nmore"), log(6, "else"), log(5, "Oops: 0000 [#1]"), log(5, PanicPrefix+" Fatal exception")}},
		{name: "an oops in an interrupt", oopses: 1, message: "b", cause: "kernel BUG at f:1",
			log: []LogLine{log(interrupt, "kernel BUG at f:1"), log(interrupt, PanicPrefix+" b")}},
		{name: "an oops of another task", oopses: 1, message: "sysrq triggered crash", before: "BUG: a",
			log: []LogLine{log(5, "BUG: a"), log(7, PanicPrefix+" sysrq triggered crash")}},
		{name: "both", oopses: 2, message: "b", cause: "Oops: 2", before: "BUG: 1",
			log: []LogLine{log(5, "BUG: 1"), log(7, "Oops: 2"), log(7, PanicPrefix+" b"), log(7, "BUG: 3")}},
	} {
		d := &Death{Oopses: tc.oopses}
		d.findMessages(tc.log)
		if d.Message != tc.message || d.Cause != tc.cause || d.Before != tc.before {
			t.Errorf("%s: message %q, cause %q, before %q", tc.name, d.Message, d.Cause, d.Before)
		}
	}
}
