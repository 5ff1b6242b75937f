package gdbstub_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub"
)

// TestOtherProtocolsAreRefused sends requests of other protocols that hold packets, whole and byte
// by byte.
func TestOtherProtocolsAreRefused(t *testing.T) {
	const packets = "$P2c=0050000000000000#39$qAttached#8f\x03$?#3f"
	for _, method := range []string{
		"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PROPFIND", "M-SEARCH", "PRI",
		"UPDATEREDIRECTREF", "BASELINE-CONTROL",
	} {
		begin := method + " /" + packets + " HTTP/1.1\r\nHost: 127.0.0.1:1234\r\n\r\n" + packets
		expectSilence(t, begin, len(begin), "HTTP ("+method+")")
		expectSilence(t, begin, 1, "HTTP ("+method+")")
	}
	expectSilence(t, "\x16\x03\x01\x02\x00"+packets, 1000, "TLS")
}

// expectSilence sends bytes in pieces, and fails the test unless the connection is closed without a
// reply, with one line of log.
func expectSilence(t *testing.T, words string, piece int, what string) {
	t.Helper()
	var log notes
	target := newAble()
	addr := serve(t, open(target), &gdbstub.Options{Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for rest := words; rest != ""; rest = rest[min(piece, len(rest)):] {
		if _, err := io.WriteString(conn, rest[:min(piece, len(rest))]); err != nil {
			break // closed already
		}
	}
	_ = conn.SetDeadline(time.Now().Add(gdbPatience))
	reply, err := io.ReadAll(conn)
	if len(reply) > 0 || errors.Is(err, os.ErrDeadlineExceeded) { // a reset is an end, too
		t.Errorf("%s: replied %q, %v", what, reply, err)
	}
	eventually(t, "the target is closed", target.closed.Load)
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "the client speaks "+what+",") })
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%s: %d lines of log: %s", what, lines, &log)
	}
}

// TestOddBeginningsAreServed has what debuggers and people send first that is neither a packet nor
// another protocol.
func TestOddBeginningsAreServed(t *testing.T) {
	for _, begin := range []string{
		"", "+", "-", "--", "+-", "hello", "Hello $", "GET", "GE T", "-GET / HTTP/1.1\r\n", "A ", strings.Repeat("A", 40) + " /", "\x00\xff", "\r\n",
	} {
		c := connect(t, newAble())
		for _, b := range []byte(begin) {
			c.raw(string(b))
		}
		c.expect("qAttached", "1")
	}
}
