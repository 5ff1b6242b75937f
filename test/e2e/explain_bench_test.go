package e2e

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/gdbstub/rsp"
	"physgdb/test/guest"
	"physgdb/test/session"
)

// crowd is a machine with two thousand tasks.
var crowd = &host{name: "6.1-crowd", config: guest.Config{Release: "6.1", Threads: 2000}}

// BenchmarkFirstBacktrace measures from the start of physgdb serve, with only the RAM and the
// vmlinux, to gdb's first backtrace, over the software adapter with a delay of 15 µs. The time
// without gdb is the start of the stub plus the time that gdb waited for its answers. Goal: 0.5 s.
func BenchmarkFirstBacktrace(b *testing.B) {
	h := hosts[0].ready(b)
	source := adapter(b, h, "--delay", "15us")
	var total, without time.Duration
	var stats string
	for b.Loop() {
		begin := time.Now()
		s, address, err := physgdb.Serve(limited(b, time30s), source, "--vmlinux", h.guest.Kernel.Vmlinux)
		if err != nil {
			b.Fatal(err)
		}
		started := time.Since(begin)
		tap, err := session.StartTap(address)
		if err != nil {
			b.Fatal(err)
		}
		steps := gdb(b, h.guest.Kernel.Vmlinux, tap.Address(), "bt", "monitor stats")
		_, waited := tap.Spent()
		total += started + steps[1].Took + steps[2].Took // target remote and bt
		without += started + waited
		stats = steps[3].Output
		if err := errors.Join(tap.Close(), s.Stop()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(total.Seconds()*1e9/float64(b.N), "ns/op")
	b.ReportMetric(without.Seconds()/float64(b.N), "s-without-gdb")
	b.Log(stats)
}

// BenchmarkBT measures `physgdb bt`, the panic's backtrace without a debugger. Goal: 0.3 s.
func BenchmarkBT(b *testing.B) {
	h := hosts[0].ready(b)
	for name, source := range map[string]string{
		"what=file": h.guest.Source(), "what=nettlp": adapter(b, h, "--delay", "15us"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				run(b, "bt", source, "--vmlinux", h.guest.Kernel.Vmlinux)
			}
		})
	}
}

// BenchmarkInfoThreads measures gdb's "info threads" of two thousand tasks, with physgdb and with a
// stub that replays the answers of physgdb at once. Goal: 1.5 times the time of the latter.
func BenchmarkInfoThreads(b *testing.B) {
	h := crowd.ready(b)
	tape := &recording{replies: map[string][]byte{}}
	record := tape.serve(b, serve(b, h.guest.Source(), "--vmlinux", h.guest.Kernel.Vmlinux))
	gdb(b, h.guest.Kernel.Vmlinux, record, "info threads")
	for _, tc := range []struct {
		name    string
		address func() string
	}{
		{"what=physgdb", func() string { return serve(b, h.guest.Source(), "--vmlinux", h.guest.Kernel.Vmlinux) }},
		{"what=replay", func() string { return tape.serve(b, "") }},
	} {
		b.Run(tc.name, func(b *testing.B) {
			var took time.Duration
			for b.Loop() {
				steps := gdb(b, h.guest.Kernel.Vmlinux, tc.address(), "info threads")
				if n := strings.Count(steps[2].Output, "Thread 1."); n < h.config.Threads {
					b.Fatalf("%d threads:\n%s", n, steps[2].Output)
				}
				took += steps[2].Took
			}
			b.ReportMetric(took.Seconds()*1e9/float64(b.N), "ns/op")
		})
	}
}

// recording has the answers of a stub, by the selected thread and the packet.
type recording struct {
	mu      sync.Mutex
	replies map[string][]byte
}

// serve answers clients, with the recorded answers of the stub at an address or, without an
// address, with those recorded before.
func (r *recording) serve(b *testing.B, stub string) string {
	b.Helper()
	return listen(b, func(conn net.Conn) { r.answer(conn, stub) })
}

// answer serves one client until it disconnects.
func (r *recording) answer(conn net.Conn, stub string) {
	client := rsp.NewConn(conn, rsp.DefaultLimit)
	var server *rsp.Conn
	if stub != "" {
		c, err := net.Dial("tcp", stub)
		if err != nil {
			return
		}
		defer c.Close()
		server = rsp.NewConn(c, rsp.DefaultLimit)
	}
	selected := ""
	for {
		kind, packet, err := client.Read()
		if err != nil {
			return
		}
		if kind != rsp.Packet {
			continue
		}
		if strings.HasPrefix(string(packet), "Hg") {
			selected = string(packet)
		}
		reply, err := r.reply(server, selected, packet)
		if err != nil || client.Write(reply) != nil {
			return
		}
		if string(packet) == "QStartNoAckMode" {
			client.StartNoAck()
			if server != nil {
				server.StartNoAck()
			}
		}
	}
}

// reply returns the answer of the server, or the recorded one.
func (r *recording) reply(server *rsp.Conn, selected string, packet []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := selected + " " + string(packet)
	if server == nil {
		return r.replies[key], nil
	}
	if err := server.Write(packet); err != nil {
		return nil, err
	}
	for {
		kind, reply, err := server.Read()
		if err != nil {
			return nil, err
		}
		if kind == rsp.Packet {
			r.replies[key] = append([]byte{}, reply...)
			return r.replies[key], nil
		}
	}
}
