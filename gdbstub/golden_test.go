package gdbstub_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"physgdb/test/session"
)

var update = flag.Bool("update", false, "record the transcripts in testdata again, except for gdb 16")

// The transcripts in testdata: `-> ` what the client sends, `<- ` what it gets, both as the inside
// of a Go string. Those of gdb 13, lldb 14 and the debug adapters are recorded with them; that of
// gdb 16 follows what was measured of it.

func TestTranscripts(t *testing.T) {
	if *update {
		record(t, "testdata/gdb13-remote.txt", typed("target remote ", "info threads", "x/2gx 0xffffffff9d001ff8",
			"continue", "stepi", "set $rax=1", "set $cr3=0x5000", "monitor hello", "detach"))
		record(t, "testdata/gdb13-extended.txt", typed("target extended-remote ", "attach 1", "info threads", "kill"))
		record(t, "testdata/gdb13-mi-launch.txt", launch)
		record(t, "testdata/gdb13-mi-attach.txt", attach)
		record(t, "testdata/lldb14.txt", typedInLLDB("bt", "thread list", "register read rax cr3", "memory read 0xffffffff9d001ff8",
			"thread select 2", "register write rax 1", "register write cr3 0x5000", "memory write 0xffffffff9d000000 1",
			"breakpoint set -a 0xffffffff9d000010", "continue", "thread step-inst", "process plugin packet monitor hello",
			"detach"))
		record(t, "testdata/lldb14-no-file.txt", withoutAFile("register read rip", "memory read 0xffffffff9d001000",
			"process kill"))
		record(t, "testdata/cdt-gdb-adapter.txt", driveCDT)
		record(t, "testdata/lldb-vscode14.txt", driveLLDB)
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := play(t, requests(t, want)); got != string(want) {
				t.Errorf("%s: the transcript is now:\n%s", file, got)
			}
		})
	}
}

// record runs a client on a machine with every ability and writes the packets of both into a file.
func record(t *testing.T, file string, talk func(t *testing.T, kernel, address string)) {
	t.Helper()
	tap, err := session.StartTap(serve(t, open(newAble()), nil))
	if err != nil {
		t.Fatal(err)
	}
	talk(t, buildKernel(t), tap.Address())
	if err := tap.Close(); err != nil {
		t.Fatal(err)
	}
	said := strings.ReplaceAll(tap.Transcript(0), "-> \\x03\n", "") // an interrupt is no packet
	if err := os.WriteFile(file, []byte(said), 0o644); err != nil {
		t.Fatal(err)
	}
}

// typed are commands at gdb's prompt, the first of which is followed by the address.
func typed(connect string, commands ...string) func(t *testing.T, kernel, address string) {
	return func(t *testing.T, kernel, address string) {
		t.Helper()
		gdb(t, append([]string{"file " + kernel, connect + address}, commands...)...)
	}
}

// play sends the requests to a machine with every ability and returns the transcript.
func play(t *testing.T, requests []string) string {
	t.Helper()
	c := connect(t, newAble())
	var said strings.Builder
	for _, request := range requests {
		c.send(request)
		said.WriteString(line("-> ", request))
		for printed := true; printed; { // what is printed comes before the reply
			reply := c.receive()
			said.WriteString(line("<- ", reply))
			printed = strings.HasPrefix(reply, "O") && reply != "OK"
		}
		if request == "QStartNoAckMode" {
			c.wire.StartNoAck()
		}
	}
	return said.String()
}

// line is one line of a transcript.
func line(direction, packet string) string {
	quoted := strconv.QuoteToASCII(packet)
	return direction + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`) + "\n"
}

// requests returns what the client sends in a transcript.
func requests(t *testing.T, transcript []byte) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(string(transcript)) {
		quoted, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "-> ")
		if !ok {
			continue
		}
		request, err := strconv.Unquote(`"` + strings.ReplaceAll(quoted, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, request)
	}
	return all
}
