package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/bridge/notify"
)

const full = `{"physgdb":1,"event":"panic","host":"db7","cpu":1,"pid":143,"comm":"clock","cr3":"0x2a5c000","cr4":"0x751ef0",` +
	`"efer":"0xd01","gs_base":"0xffff88801f100000","rip":"0xffffffff9d0a1b2c","rsp":"0xffffc900001b3d28",` +
	`"rbp":"0xffffc900001b3da8","vmcoreinfo":"0x2801000","message":"say \"hi\"\n","new":[1]}`

func TestParse(t *testing.T) {
	n, err := notify.Parse([]byte(full + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if n.Event != "panic" || n.Host != "db7" || *n.CPU != 1 || *n.PID != 143 || n.CR3 != 0x2a5c000 ||
		*n.RIP != 0xffffffff9d0a1b2c || *n.CR4 != 0x751ef0 || n.RBX != nil || n.Message != "say \"hi\"\n" {
		t.Errorf("%+v", n)
	}
	again, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(full, `,"new":[1]`, "", 1); string(again) != want {
		t.Errorf("written as\n%s\nwant\n%s", again, want)
	}
	if n, err := notify.Parse([]byte(`{"physgdb":1,"cr3":"2a5c000"}`)); err != nil || n.CR3 != 0x2a5c000 {
		t.Errorf("the shortest notice: %+v, %v", n, err)
	}
}

func TestHints(t *testing.T) {
	for datagram, want := range map[string]bridge.Hints{
		full: {VMCoreInfo: 0x2801000, CPUs: []bridge.CPU{{Number: 1, Registers: map[string]uint64{
			"cr3": 0x2a5c000, "cr4": 0x751ef0, "efer": 0xd01, "gs_base": 0xffff88801f100000,
			"rip": 0xffffffff9d0a1b2c, "rsp": 0xffffc900001b3d28, "rbp": 0xffffc900001b3da8,
		}}}},
		`{"physgdb":1,"event":"panic","cr3":"0x1000"}`: {
			CPUs: []bridge.CPU{{Number: -1, Registers: map[string]uint64{"cr3": 0x1000}}}},
		`{"physgdb":1,"event":"hello","comm":"clock","cr3":"0x1000"}`: {
			Roots: []bridge.Root{{Name: "clock", CR3: 0x1000}}},
	} {
		n, err := notify.Parse([]byte(datagram))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, n.Hints()); d != "" {
			t.Errorf("%s: %s", datagram, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for datagram, want := range map[string]string{
		``: "not a notice", `hello`: "not a notice", `[]`: "not a notice", `{}`: `no key "physgdb"`,
		`{"physgdb":2,"cr3":"0x1"}`:                 "version 2",
		`{"physgdb":1}`:                             `without "cr3"`,
		`{"physgdb":1,"cr3":"x"}`:                   "not a hexadecimal number",
		`{"physgdb":1,"cr3":7}`:                     "want a string",
		`{"physgdb":1,"cr3":"0x1","cpu":"one"}`:     "not a notice",
		`{"physgdb":1,"cr3":"0x10000000000000000"}`: "not a hexadecimal number",
	} {
		if n, err := notify.Parse([]byte(datagram)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", datagram, n, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"physgdb":1,"cr3":"0x0"}`))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		n, err := notify.Parse(datagram)
		if err != nil {
			return
		}
		n.Text()
		text, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		again, err := notify.Parse(text)
		if err != nil || again.CR3 != n.CR3 {
			t.Errorf("%s is not read back: %v", text, err)
		}
	})
}

// TestTextsAreCut has texts that are as long as a datagram can be, and end in the middle of a
// character where they are cut.
func TestTextsAreCut(t *testing.T) {
	long := strings.Repeat("é\x7f", 16000)
	text, err := json.Marshal(map[string]any{"physgdb": 1, "cr3": "0x1", "event": long, "host": "x" + long, "comm": long, "message": long})
	if err != nil {
		t.Fatal(err)
	}
	n, err := notify.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"event": n.Event, "host": n.Host, "comm": n.Comm, "message": n.Message} {
		if len(text) < 10 || len(text) > 1024 || !utf8.ValidString(text) {
			t.Errorf("%s: %d bytes, UTF-8: %v", what, len(text), utf8.ValidString(text))
		}
	}
	if line, err := json.Marshal(n); err != nil || len(line) > 16<<10 {
		t.Errorf("a line of %d bytes: %v", len(line), err)
	}
	if n.Event = notify.EventPanic; len(n.Text()) > 10<<10 || strings.ContainsAny(n.Text(), "\x7f\n") {
		t.Errorf("%q", n.Text())
	}
}

func TestReadLines(t *testing.T) {
	short := `{"physgdb":1,"cr3":"0x1"}`
	file := short + "\n\n  \r\n" + strings.Repeat("a", 360063) + "\n" + full + "\ngarbage\n" + strings.Repeat(" ", 65536) + "\n" + short + "\n" + full[:20]
	var roots []notify.Hex
	var bad []int
	err := notify.ReadLines(context.Background(), iotest.HalfReader(strings.NewReader(file)),
		func(n *notify.Notice) { roots = append(roots, n.CR3) }, func(line int, err error) { bad = append(bad, line) })
	if err != nil || !slices.Equal(roots, []notify.Hex{1, 0x2a5c000, 1}) || !slices.Equal(bad, []int{4, 6, 7, 9}) {
		t.Errorf("roots %x, bad lines %d, %v", roots, bad, err)
	}
	broken := errors.New("broken")
	none := func(int, error) { t.Error("a bad line") }
	if err := notify.ReadLines(context.Background(), iotest.ErrReader(broken), nil, none); !errors.Is(err, broken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := notify.ReadLines(ctx, strings.NewReader(file), nil, none); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzReadLines(f *testing.F) {
	f.Add([]byte(full + "\ngarbage\n" + full))
	f.Fuzz(func(t *testing.T, file []byte) {
		good, bad := 0, 0
		end := "\n" + full + "\n"
		err := notify.ReadLines(context.Background(), strings.NewReader(string(file)+end),
			func(*notify.Notice) { good++ }, func(int, error) { bad++ })
		if err != nil || good == 0 || good+bad > strings.Count(string(file)+end, "\n") {
			t.Errorf("%d notices, %d bad lines, %v", good, bad, err)
		}
	})
}

func TestListen(t *testing.T) {
	l, err := notify.Listen("udp://127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := `{"physgdb":1,"event":"hello","comm":"clock","cr3":"0x1000"}`
	for _, datagram := range []string{"garbage", hello, full, full, full, hello, `{"physgdb":1,"event":"bye","cr3":"0x2"}`} {
		if _, err := conn.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, want := range []string{"hello", "panic", "bye"} {
		n, from, err := l.Next(ctx)
		if err != nil || n.Event != want || from.String() != conn.LocalAddr().String() {
			t.Fatalf("%+v from %v, %v; want %s", n, from, err, want)
		}
	}
	short, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	if _, _, err := l.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a datagram: %v", err)
	}
	conn.Write([]byte(`{"physgdb":1,"event":"late","cr3":"0x3"}`))
	if n, _, err := l.Next(ctx); err != nil || n.Event != "late" {
		t.Errorf("after a wait that ended: %+v, %v", n, err)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, address := range []string{"127.0.0.1:6666", "tcp://127.0.0.1:1", "udp://", "udp://nowhere.invalid:1", "udp://127.0.0.1:1/x"} {
		if l, err := notify.Listen(address, nil); err == nil {
			l.Close()
			t.Errorf("%s was taken", address)
		}
	}
}
