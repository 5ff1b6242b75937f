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

// BenchmarkFirstBacktrace is from the start of physgdb serve, which knows nothing but the RAM and
// the vmlinux, to gdb's first backtrace, over the software adapter with a delay of 15 µs. Without
// gdb it is the start of the stub, and how long gdb waited for its answers. Wanted: 0.5 s.
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

// BenchmarkBT is `physgdb bt` from its start to its end: the panic's backtrace with no debugger at
// all. Wanted: 0.3 s.
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

// BenchmarkInfoThreads is gdb's "info threads" of two thousand tasks, by physgdb and by a stub that
// answers at once what physgdb had answered before. Wanted: 1.5 times the time of that.
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

// recording is what a stub answered, by the thread that was selected and the packet.
type recording struct {
	mu      sync.Mutex
	replies map[string][]byte
}

// serve answers clients: by asking the stub at an address and remembering what it said, or, without
// an address, from memory.
func (r *recording) serve(b *testing.B, stub string) string {
	b.Helper()
	return listen(b, func(conn net.Conn) { r.answer(conn, stub) })
}

// answer goes on until the client is gone.
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

// reply asks the server, or memory.
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
