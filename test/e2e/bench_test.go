package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// BenchmarkServeStart is from the start of physgdb serve to its readiness, with the largest vmlinux. Wanted: 0.15 s and
// 120 MB of memory.
func BenchmarkServeStart(b *testing.B) {
	h := hosts[0].ready(b)
	var peak int64 // KiB
	for b.Loop() {
		s, _, err := physgdb.Serve(limited(b, time30s), h.guest.Source(), "--notify", h.notices,
			"--vmlinux", h.guest.Kernel.Vmlinux)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Stop(); err != nil {
			b.Fatal(err)
		}
		peak = max(peak, s.Usage().SysUsage().(*syscall.Rusage).Maxrss)
	}
	b.ReportMetric(float64(peak)/1024, "peak-MiB")
}

// dumpSize is how much memory BenchmarkDump has gdb dump, in bytes.
const dumpSize = 64 << 20

// BenchmarkDump is gdb's "dump binary memory" of 64 MiB, by physgdb and by a stub that answers from a byte slice at once.
// Wanted: 0.95 times the speed of that.
func BenchmarkDump(b *testing.B) {
	h := hosts[0].ready(b)
	base := linearMapping(b, h, dumpSize)
	for _, tc := range []struct {
		name  string
		serve func(b *testing.B) string
	}{
		{"what=physgdb-file", func(b *testing.B) string { return serve(b, h.guest.Source(), "--notify", h.notices) }},
		{"what=physgdb-nettlp", func(b *testing.B) string { return serve(b, adapter(b, h), "--notify", h.notices) }},
		{"what=trivial-stub", trivialStub},
	} {
		b.Run(tc.name, func(b *testing.B) {
			address := tc.serve(b)
			out := filepath.Join(b.TempDir(), "dump")
			dump := fmt.Sprintf("dump binary memory %s %#x %#x", out, base, base+dumpSize)
			var seconds float64 // of the command itself: gdb's start does not count
			for b.Loop() {
				steps := gdb(b, "", address, dump)
				last := steps[len(steps)-1]
				if last.Output != "" {
					b.Fatal(last.Output)
				}
				seconds += last.Took.Seconds()
			}
			b.ReportMetric(seconds*1e9/float64(b.N), "ns/op")
			b.ReportMetric(dumpSize/1e6*float64(b.N)/seconds, "MB/s")
		})
	}
}

// linearMapping finds a range of the kernel's that maps size bytes of RAM in one piece.
func linearMapping(b *testing.B, h *host, size uint64) uint64 {
	b.Helper()
	r := run(b, "maps", h.guest.Source(), "--notify", h.notices, "--kernel")
	for line := range strings.Lines(r.Stdout) {
		span := strings.Fields(line)[0]
		first, last, _ := strings.Cut(span, "-")
		if number(last)-number(first) >= size {
			return number(first)
		}
	}
	b.Fatalf("no kernel range of %d bytes", size)
	return 0
}

// trivialStub is the least that gdb takes for a stub: memory is a page of bytes, made hexadecimal beforehand.
func trivialStub(b *testing.B) string {
	memory := []byte(hex.EncodeToString(bytes.Repeat([]byte{0xa5}, rsp.DefaultLimit/2)))
	return listen(b, func(conn net.Conn) { answerTrivially(conn, memory) })
}

// listen lets clients in until the benchmark ends, and returns where.
func listen(b *testing.B, answer func(net.Conn)) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// answerTrivially goes on until the client is gone.
func answerTrivially(conn net.Conn, memory []byte) {
	c := rsp.NewConn(conn, rsp.DefaultLimit)
	for {
		kind, packet, err := c.Read()
		if err != nil {
			return
		}
		if kind != rsp.Packet {
			continue
		}
		reply := []byte{}
		switch text := string(packet); {
		case strings.HasPrefix(text, "qSupported"):
			reply = fmt.Appendf(nil, "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+", rsp.DefaultLimit)
		case text == "QStartNoAckMode", strings.HasPrefix(text, "H"), strings.HasPrefix(text, "D"):
			reply = []byte("OK")
		case strings.HasPrefix(text, "qXfer:features:read:target.xml:"):
			reply = chunk(gdbstub.AMD64().XML(), text[len("qXfer:features:read:target.xml:"):])
		case text == "?":
			reply = []byte("T05")
		case text == "g":
			for _, r := range gdbstub.AMD64().Registers() {
				reply = append(reply, bytes.Repeat([]byte{'0'}, r.Bits/4)...)
			}
		case packet[0] == 'm':
			_, length, _ := strings.Cut(text, ",")
			reply = memory[:2*number("0x"+length)]
		}
		if c.Write(reply) != nil {
			return
		}
		if string(packet) == "QStartNoAckMode" {
			c.StartNoAck()
		}
	}
}

// chunk answers a qXfer: span is "offset,length" in hexadecimal.
func chunk(document []byte, span string) []byte {
	offset, length, _ := strings.Cut(span, ",")
	rest := document[min(number("0x"+offset), uint64(len(document))):]
	if n := number("0x" + length); uint64(len(rest)) > n {
		return append([]byte{'m'}, rest[:n]...)
	}
	return append([]byte{'l'}, rest...)
}
