package nettlp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
)

// BenchmarkRead compares reads through client and adapter with a bare exchange of the same
// datagrams: as many, as long, with the same window, through the same sockets, but without a TLP in
// them. One operation is a batch of 64 reads.
func BenchmarkRead(b *testing.B) {
	const batch = 64
	for _, size := range []int{512, 4096} {
		for _, tags := range []int{1, 16, 64} {
			compare(b, fmt.Sprintf("size=%s/tags=%d", sizeName(size), tags), size, tags, batch)
		}
	}
}

// BenchmarkLatency does the same with one read at a time: how long one waits for it.
func BenchmarkLatency(b *testing.B) {
	for _, size := range []int{8, 64, 512, 4096} {
		compare(b, "size="+sizeName(size), size, 0, 1)
	}
}

func sizeName(n int) string {
	if n >= 1024 {
		return fmt.Sprintf("%dKiB", n/1024)
	}
	return fmt.Sprintf("%dB", n)
}

func compare(b *testing.B, name string, size, tags, batch int) {
	b.Run(name+"/what=nettlp", func(b *testing.B) { benchClient(b, size, tags, batch) })
	b.Run(name+"/what=bare", func(b *testing.B) { benchBare(b, size, tags, batch) })
}

func benchClient(b *testing.B, size, tags, batch int) {
	ram := randomRAM(1 << 20)
	c, a := pair(b, viewOf(ram), AdapterOptions{}, Options{Tags: tags})
	ops := make([]bridge.Op, batch)
	for i := range ops {
		ops[i] = bridge.Op{Addr: bridge.PhysAddr(i * 4096), Buf: make([]byte, size)}
	}
	measure(b, batch*size, batch, func() {
		if err := c.ReadPhys(context.Background(), ops); err != nil {
			b.Fatal(err)
		}
	})
	for i := range ops {
		if ops[i].Err != nil || string(ops[i].Buf) != string(ram[i*4096:i*4096+size]) {
			b.Fatalf("read %d is wrong: %v", i, ops[i].Err)
		}
	}
	if c.Counts().Retries > 0 {
		b.Logf("%d retries, adapter %+v", c.Counts().Retries, a.Stats())
	}
}

// BenchmarkDelay shows that an adapter's delay is true, and that reads in the air together wait for
// it together.
func BenchmarkDelay(b *testing.B) {
	for _, delay := range []time.Duration{0, 15 * time.Microsecond, 100 * time.Microsecond} {
		for _, reads := range []int{1, 16} {
			b.Run(fmt.Sprintf("delay=%v/reads=%d", delay, reads), func(b *testing.B) {
				c, _ := pair(b, viewOf(randomRAM(1<<16)), AdapterOptions{Link: Link{Delay: delay}}, Options{})
				ops := make([]bridge.Op, reads)
				for i := range ops {
					ops[i] = bridge.Op{Addr: bridge.PhysAddr(i * 4096), Buf: make([]byte, 64)}
				}
				measure(b, reads*64, reads, func() {
					if err := c.ReadPhys(context.Background(), ops); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

// measure reports throughput and the time one read takes, of those that share a batch.
func measure(b *testing.B, bytes, reads int, run func()) {
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*reads), "ns/read")
}

// replySizes returns how long the datagrams are that answer a request of the given size.
func replySizes(size int) (replies []int) {
	for ; size > 0; size -= DefaultMPS {
		replies = append(replies, stampSize+header3DW+min(size, DefaultMPS))
	}
	return replies
}

func benchBare(b *testing.B, size, tags, batch int) {
	orElse(&tags, DefaultTags)
	local, remote := newPair()
	replies := replySizes(min(size, DefaultMRRS))
	respond(b, remote, replies)
	p, err := openPorts(local, remote, BasePort, tags)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.close)
	requests := batch * max(size/DefaultMRRS, 1)
	x := newBareClient(p, tags, len(replies))
	measure(b, batch*size, batch, func() {
		if err := x.exchange(requests); err != nil {
			b.Fatal(err)
		}
	})
}

// bareClient sends requests of a fixed content and waits for a fixed number of replies to each.
type bareClient struct {
	ports   *ports
	request []byte
	in      []byte
	replies int
	missing []int // replies, by tag
	tags    int
}

func newBareClient(p *ports, tags, replies int) *bareClient {
	return &bareClient{
		ports:   p,
		request: make([]byte, stampSize+header3DW),
		in:      make([]byte, maxBatch),
		replies: replies,
		missing: make([]int, tags),
		tags:    tags,
	}
}

func (x *bareClient) exchange(requests int) error {
	unsent, open := requests, 0
	for tag := 0; tag < x.tags && unsent > 0; tag++ {
		if err := x.send(uint8(tag)); err != nil {
			return err
		}
		unsent, open = unsent-1, open+1
	}
	for open > 0 {
		ready, err := x.ports.wait(forever)
		if err != nil {
			return err
		}
		for i := range ready {
			tag := uint8(ready[i].Fd)
			if !x.receive(tag) {
				continue
			}
			open--
			if unsent > 0 {
				if err := x.send(tag); err != nil {
					return err
				}
				unsent, open = unsent-1, open+1
			}
		}
	}
	return nil
}

func (x *bareClient) send(tag uint8) error {
	x.missing[tag] = x.replies
	return x.ports.send(tag, x.request)
}

// receive takes what came for a tag and reports whether that was all.
func (x *bareClient) receive(tag uint8) bool {
	for x.missing[tag] > 0 {
		came, err := x.ports.recv(tag, x.in)
		if err != nil {
			return false
		}
		for _, ok := came.next(); ok; _, ok = came.next() {
			x.missing[tag]--
		}
	}
	return true
}

// respond answers every datagram with as many as there are sizes.
func respond(b *testing.B, listen netip.Addr, sizes []int) {
	p, err := openPorts(listen, netip.Addr{}, BasePort, MaxTags)
	if err != nil {
		b.Fatal(err)
	}
	turn := newTurn()
	turn.take(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer turn.give()
		var from unix.RawSockaddrInet4
		in, out := make([]byte, maxDatagram), make([]byte, maxDatagram)
		way := newLink(Link{}, p, func() {})
		way.gso = hasGSO(p.fds[0])
		for turn.interrupted(context.Background()) == nil {
			ready, _ := p.wait(forever)
			for i := range ready {
				if ready[i].Fd == wakeEvent {
					continue
				}
				if _, err := recvFrom(p.fds[ready[i].Fd], in, &from); err != nil {
					continue
				}
				for _, n := range sizes {
					way.transmit(uint8(ready[i].Fd), &from, out[:n], 0)
				}
				way.release(0)
			}
		}
	}()
	b.Cleanup(func() {
		turn.close(p)
		<-done
	})
}
