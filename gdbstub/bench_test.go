package gdbstub_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"physgdb/gdbstub"
)

// BenchmarkMemoryReply is one read of 64 KiB over loopback, client included.
func BenchmarkMemoryReply(b *testing.B) {
	for _, packet := range []string{"m", "x"} {
		b.Run(packet, func(b *testing.B) {
			target := newBare()
			target.memory = []region{{0, make([]byte, 64<<10)}}
			c := dial(b, serve(b, open(target), nil))
			c.ask("QStartNoAckMode")
			c.wire.StartNoAck()
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for b.Loop() {
				c.ask(packet + "0,10000")
			}
		})
	}
}

// BenchmarkRequest is each of the small requests that a list of frames is made of.
func BenchmarkRequest(b *testing.B) {
	for _, packet := range []string{"T2", "Hg2", "g", "mffffffff9d000000,40"} {
		b.Run(packet, func(b *testing.B) {
			c := connect(b, newBare())
			c.ask("QStartNoAckMode")
			c.wire.StartNoAck()
			b.ReportAllocs()
			for b.Loop() {
				c.ask(packet)
			}
		})
	}
}

// BenchmarkThreadList is the connect of a client to a machine with many threads.
func BenchmarkThreadList(b *testing.B) {
	target := newBare()
	for id := range gdbstub.ThreadID(2000) {
		target.threads = append(target.threads, gdbstub.Thread{ID: 100 + id, Name: "task", Text: "pid 1234"})
	}
	c := dial(b, serve(b, open(target), nil))
	for b.Loop() {
		for offset := 0; ; offset += 0x1000 {
			if c.ask(fmt.Sprintf("qXfer:threads:read::%x,1000", offset))[0] == 'l' {
				break
			}
		}
	}
}

// BenchmarkInfoThreads2000 is a real gdb that shows 2000 threads with their frames: as a user sees
// them, and as VS Code asks for them at every stop. In addition to the time, which is mostly gdb's,
// it reports the server's part.
func BenchmarkInfoThreads2000(b *testing.B) {
	kernel := buildKernel(b)
	for name, command := range map[string]string{
		"gdb": `-interpreter-exec console "info threads"`, "mi": "-thread-info",
	} {
		b.Run(name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			counted := &countingListener{Listener: ln}
			serveOn(b, counted, open(newCrowd(b, kernel, 2000)), nil)
			g := startMI(b, kernel)
			g.until("1-target-select remote "+ln.Addr().String(), "1^connected")
			packets, busy := counted.replies.Load(), ownCPU(b)
			for b.Loop() {
				g.until("2"+command, "2^done")
			}
			packets, busy = counted.replies.Load()-packets, ownCPU(b)-busy
			b.ReportMetric(float64(packets)/float64(b.N), "packets/op")
			b.ReportMetric(float64(busy.Microseconds())/float64(packets), "server-µs/packet")
		})
	}
}

// ownCPU is the time that this process has spent on all its cores, which leaves gdb out.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// countingListener counts the replies of a server: each leaves in a write of its own.
type countingListener struct {
	net.Listener
	replies atomic.Int64
}

// Accept returns a connection whose writes are counted.
func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l}, err
}

type countedConn struct {
	net.Conn
	listener *countingListener
}

func (c countedConn) Write(p []byte) (int, error) {
	c.listener.replies.Add(1)
	return c.Conn.Write(p)
}
