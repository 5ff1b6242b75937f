package query

import (
	"encoding/json"
	"testing"
	"time"

	"physgdb/symbols/linux/klog"
	"physgdb/test/rig"
)

func TestParseLevels(t *testing.T) {
	for text, want := range map[string]uint8{
		"emerg": 1, "debug": 0x80, "err": 8, "3": 8, "err,warn": 0x18, "0,7": 0x81, "err+": 0x0f, "+err": 0xf8,
		"emerg+": 1, "+debug": 0x80, "crit+,info": 0x47, "7+": 0xff,
	} {
		if got, err := ParseLevels(text); got != want || err != nil {
			t.Errorf("%s: %#x, %v; want %#x", text, got, err, want)
		}
	}
}

func TestLogLineAsJSON(t *testing.T) {
	r := &klog.Record{
		Seq: 7, Time: 1500 * time.Millisecond, Level: 3, Facility: 1, Caller: 1<<31 | 2, Text: "oh\x1b[2J\nno", Subsystem: "pci",
	}
	boot := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		boot time.Time
		want string
	}{
		{time.Time{}, `{"seq":7,"ns":1500000000,"level":"err","facility":1,"caller":"C2",` +
			`"text":"oh\u001b[2J\nno","subsystem":"pci"}`},
		{boot, `{"seq":7,"ns":1500000000,"time":"2026-11-23T05:00:01.5Z","level":"err","facility":1,"caller":"C2",` +
			`"text":"oh\u001b[2J\nno","subsystem":"pci"}`},
	} {
		got, err := json.Marshal(newMessage(r, tc.boot))
		rig.Must(t, err)
		if string(got) != tc.want {
			t.Errorf("%s, want\n%s", got, tc.want)
		}
	}
}
