package guest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseKernelLog(t *testing.T) {
	line := func(micros time.Duration, text string) LogLine { return LogLine{micros * time.Microsecond, text} }
	for _, c := range []struct {
		name, serial string
		want         []LogLine
	}{
		{"nothing", "", nil},
		{"what a kernel prints first", "[    0.000000] Linux version 6.12\r\n", []LogLine{line(0, "Linux version 6.12")}},
		{
			"a record of two lines", "[    1.000002] one\r\n[    1.000002] two\r\n",
			[]LogLine{line(1e6+2, "one"), line(1e6+2, "two")},
		},
		{"blanks at both ends", "[   12.345678]  <TASK> \r\n", []LogLine{line(12345678, " <TASK> ")}},
		{"an empty line", "[   12.345678] \r\n", []LogLine{line(12345678, "")}},
		{"days", "[123456.000001] up\r\n", []LogLine{line(123456000001, "up")}},
		{
			"callers", "[    7.700000][    T1] one\r\n[    7.700000][   C12] two\r\n",
			[]LogLine{line(7.7e6, "one"), line(7.7e6, "two")},
		},
		{"a stamp in the text", "[    1.000000] [    2.000000] x\n", []LogLine{line(1e6, "[    2.000000] x")}},
		{
			"a boot loader", "\x1bcSeaBIOS (version 1.16)\r\nBooting from ROM..\r\n[    0.000000] on\r\n",
			[]LogLine{line(0, "on")},
		},
		{"a process", "clock: 1795410803\r\n[    5.000000] on\r\nclock: 1\r\n", []LogLine{line(5e6, "on")}},
		{"a process that is interrupted", "clock: 17954[    5.000000] on\r\n10803\r\n", []LogLine{line(5e6, "on")}},
		{"a line that is not over yet", "[    5.000000] on\r\n[    6.000000] of", []LogLine{line(5e6, "on")}},
		{"what is no stamp", "[    5.00000] a\r\n[5] b\r\n[     .000000] c\r\n[99999999999.000000] d\r\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ParseKernelLog(c.serial)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPanicMessageNeedsWholeLine(t *testing.T) {
	const log = "[    7.8] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n"
	if !panicked(log) {
		t.Error("not seen")
	}
	if panicked(strings.TrimSuffix(log, "\n")) {
		t.Error("seen before the end of the line")
	}
}

// FuzzParseKernelLog checks that every line found is in the text after its time stamp.
func FuzzParseKernelLog(f *testing.F) {
	f.Add("clock: 1[    5.000000] on\r\n10803\r\n[    5.000001][    T1]  on\r\n")
	f.Fuzz(func(t *testing.T, serial string) {
		log := ParseKernelLog(serial)
		for _, line := range log {
			if line.Time < 0 || !strings.Contains(serial, "] "+line.Text) || strings.Contains(line.Text, "\n") {
				t.Errorf("got %+v", line)
			}
		}
	})
}
