package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge/notify"
	"physgdb/test/rig"
)

func TestNoticesOfAFile(t *testing.T) {
	const (
		other     = `{"physgdb":1,"event":"panic","host":"db8","cr3":"CLOCK","message":"other"}`
		nameless  = `{"physgdb":1,"event":"hello","host":"db7","pid":144,"cr3":"0x7000"}`
		anonymous = `{"physgdb":1,"event":"hello","host":"db7","cr3":"0x8000"}`
		again     = `{"physgdb":1,"event":"hello","host":"db7","pid":150,"comm":"clock","cr3":"0x9000"}`
		cron      = `{"physgdb":1,"event":"hello","host":"db7","pid":9,"comm":"cron","cr3":"0xa000"}`
		elsewhere = `{"physgdb":1,"event":"hello","host":"db8","pid":9,"comm":"sshd","cr3":"0xb000"}`
		hostless  = `{"physgdb":1,"event":"hello","comm":"cron","cr3":"0xd000"}`
		unnamed   = `{"physgdb":1,"event":"hello","host":"(none)","comm":"cron","cr3":"0xe000"}`
		strange   = `{"physgdb":1,"event":"farewell","host":"db7","comm":"bash","cr3":"0xc000"}`
	)
	r := rig.New(t, 4)
	for _, tc := range []struct {
		name    string
		lines   []string
		message string // of the panic
		hellos  string // NAME=CR3, sorted; CLOCK is the rig's
	}{
		{"a panic alone", []string{rig.Panicked}, "tests", ""},
		{"a hello before it", []string{rig.Hello, rig.Panicked}, "tests", "clock=CLOCK"},
		{"empty lines", []string{"", rig.Hello, " \t", rig.Panicked, ""}, "tests", "clock=CLOCK"},
		{"of several panics the last", []string{rig.Panicked, other}, "other", ""},
		{"of repeated hellos the last", []string{rig.Hello, again, rig.Panicked}, "tests", "clock=0x9000"},
		{"a hello without a name goes by its pid", []string{nameless, rig.Panicked}, "tests", "144=0x7000"},
		{"a hello without a name is ignored", []string{anonymous, rig.Panicked}, "tests", ""},
		{"other events name no root", []string{strange, rig.Panicked}, "tests", ""},
		{"lines that are no notices", []string{"", rig.Panicked[:50], rig.Hello, `{"physgdb":2,"event":"panic","cr3":"0x1"}`, "\x00\x1b", rig.Panicked}, "tests", "clock=CLOCK"},
		{"a line that is too long", []string{rig.Hello, strings.Repeat("x", 360063), rig.Panicked, "{" + strings.Repeat(" ", 1<<20)}, "tests", "clock=CLOCK"},
		{"a line that a kill has cut", []string{rig.Hello, rig.Panicked, rig.Panicked[:50]}, "tests", "clock=CLOCK"},
		{"a panic in three notices", []string{rig.Hello, rig.Panicked, rig.Panicked, rig.Panicked}, "tests", "clock=CLOCK"},
		{"hellos of the boot before are void", []string{rig.Hello, rig.Panicked, cron, rig.Panicked}, "tests", "cron=0xa000"},
		{"hellos of the boot after are void", []string{rig.Hello, rig.Panicked, cron}, "tests", "clock=CLOCK"},
		{"hellos of another host are void", []string{rig.Hello, elsewhere, rig.Panicked}, "tests", "clock=CLOCK"},
		{"a program that does not know its host", []string{hostless, rig.Hello, rig.Panicked}, "tests", "clock=CLOCK cron=0xd000"},
		{"a program of a host without a name", []string{unnamed, rig.Panicked}, "tests", "cron=0xe000"},
		{"such a program of the boot before", []string{hostless, rig.Panicked, rig.Hello, rig.Panicked}, "tests", "clock=CLOCK"},
		{"another host's panic voids nothing", []string{rig.Hello, other, rig.Panicked}, "tests", "clock=CLOCK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := attachRig(t, r, Options{Notify: r.Notices(t, tc.lines...)})
			if m.Notice.Message != tc.message {
				t.Errorf("panic %q, want %q", m.Notice.Message, tc.message)
			}
			var hellos []string
			for _, name := range slices.Sorted(maps.Keys(m.Hellos)) {
				hellos = append(hellos, name+"="+rig.Hex(uint64(m.Hellos[name].CR3)))
			}
			if got, want := strings.Join(hellos, " "), strings.ReplaceAll(tc.hellos, "CLOCK", rig.Hex(r.Clock)); got != want {
				t.Errorf("hellos %s, want %s", got, want)
			}
		})
	}
}

// TestBadLinesOfNoticesAreLogged has each of the first, and the number of the others.
func TestBadLinesOfNoticesAreLogged(t *testing.T) {
	r := rig.New(t, 4)
	var log strings.Builder
	file := r.Notices(t, append(slices.Repeat([]string{"garbage"}, 10), rig.Panicked)...)
	attachRig(t, r, Options{Notify: file, Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})})
	for _, want := range []string{"line=1 ", "line=3 ", "lines=7"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log: %s", want, log.String())
		}
	}
	if lines := strings.Count(log.String(), "notices"); lines < 4 || strings.Count(log.String(), "\n") > 4 {
		t.Errorf("the log: %s", log.String())
	}
}

func TestAFloodOfNoticesIsNotKept(t *testing.T) {
	var seen history
	for i := range 3 * maxHistory {
		name := fmt.Sprint(i)
		seen.take(&notify.Notice{Event: notify.EventHello, Host: "a", Comm: name})
		seen.take(&notify.Notice{Event: "farewell", Host: name})
	}
	if n := seen.size(); n > maxHistory {
		t.Errorf("%d are kept", n)
	}
	for i := range maxHistory {
		seen.take(&notify.Notice{Event: notify.EventHello, Host: "db7", Comm: fmt.Sprint(i % 10)})
	}
	if _, hellos := seen.take(&notify.Notice{Event: notify.EventPanic, Host: "db7"}); len(hellos) != 10 {
		t.Errorf("%d programs of the host that panicked, want 10", len(hellos))
	}
}

func TestNoticesRefused(t *testing.T) {
	r := rig.New(t, 4)
	for _, tc := range []struct {
		name, line, cr3, want string
	}{
		{"none of a panic", rig.Hello, "", "has no notice of a panic"},
		{"an empty file", "", "", "has no notice of a panic"},
		{"a damaged line", rig.Panicked[:50], "", "has no notice of a panic"},
		{"a line that is too long", strings.Repeat("x", 1<<17), "", "has no notice of a panic"},
		{"an unknown name", rig.Panicked, "hello:clock", `no program named "clock" has sent its CR3; none has`},
		{"a later version", `{"physgdb":2,"event":"panic","cr3":"0x1"}`, "", "has no notice of a panic"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Attach(ctx, &Options{Source: r.Path("ram"), Notify: r.Notices(t, tc.line), CR3: tc.cr3})
			rig.WantError(t, err, tc.want)
		})
	}
}
