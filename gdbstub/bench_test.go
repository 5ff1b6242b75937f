package gdbstub_test

import (
	"fmt"
	"testing"

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
