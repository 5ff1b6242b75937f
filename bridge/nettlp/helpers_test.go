package nettlp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testID ID = 0x1b00

var pairs atomic.Uint32

// newPair returns two loopback addresses that no other test uses, in this process and very likely
// in any.
func newPair() (client, adapter netip.Addr) {
	n := (uint32(os.Getpid())*251 + pairs.Add(1)) % 0x7f00 * 2
	at := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(n >> 8), byte(n)}) }
	return at(n + 2), at(n + 3)
}

func randomRAM(n int) []byte {
	ram := make([]byte, n)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range ram {
		ram[i] = byte(rng.Uint32())
	}
	return ram
}

// viewed is a memory that shows its bytes in place, as a mapped file does.
type viewed struct {
	*bridgetest.Fake
	ram []byte
}

func (v viewed) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	if uint64(addr)+uint64(n) > uint64(len(v.ram)) {
		return nil, false
	}
	return v.ram[addr : int(addr)+n], true
}

func viewOf(ram []byte) bridge.Memory { return viewed{bridgetest.NewFake(ram), ram} }

// pair starts an adapter over mem and a client of it. The options given need no addresses.
func pair(t testing.TB, mem bridge.Memory, ao AdapterOptions, co Options) (*Client, *Adapter) {
	t.Helper()
	co.Local, ao.Listen = newPair()
	co.Remote, co.Requester = ao.Listen, testID
	a, err := NewAdapter(mem, &ao)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, a)
	return dial(t, co), a
}

func serve(t testing.TB, a *Adapter) {
	served := make(chan error, 1)
	go func() { served <- a.Serve(context.Background()) }()
	t.Cleanup(func() {
		a.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func dial(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// peer is an adapter that lies as its script says: for each request, the datagrams to send back.
type peer struct {
	ports *ports
	turn  *turn
	done  chan struct{}
}

func newPeer(t testing.TB, listen netip.Addr, tags int, script func(r Request) [][]byte) *peer {
	t.Helper()
	ports, err := openPorts(listen, netip.Addr{}, BasePort, tags)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{ports, newTurn(), make(chan struct{})}
	p.turn.take(context.Background())
	go p.serve(t, script)
	t.Cleanup(func() {
		p.turn.close(ports)
		<-p.done
	})
	return p
}

func (p *peer) serve(t testing.TB, script func(r Request) [][]byte) {
	defer close(p.done)
	defer p.turn.give()
	in := make([]byte, maxDatagram)
	for p.turn.interrupted(context.Background()) == nil {
		ready, err := p.ports.wait(forever)
		if err != nil {
			t.Error(err)
			return
		}
		for _, ev := range ready {
			if ev.Fd == wakeEvent {
				continue
			}
			var from unix.RawSockaddrInet4
			n, err := recvFrom(p.ports.fds[ev.Fd], in, &from)
			if err != nil {
				continue
			}
			_, tlp, _ := DecodeStamp(in[:n])
			r, err := DecodeRequest(tlp)
			if err != nil {
				t.Errorf("client sent %x: %v", in[:n], err)
				continue
			}
			if int32(r.Tag) != ev.Fd || r.Requester != testID || r.Write || r.Locked || r.Crosses() {
				t.Errorf("client sent %+v on the port of tag %d", r, ev.Fd)
			}
			for _, d := range script(r) {
				sendTo(p.ports.fds[ev.Fd], d, &from)
			}
		}
	}
}

// dialPeer starts a client of a lying adapter.
func dialPeer(t testing.TB, co Options, script func(r Request) [][]byte) *Client {
	t.Helper()
	var listen netip.Addr
	co.Local, listen = newPair()
	co.Remote, co.Requester = listen, testID
	newPeer(t, listen, MaxTags, script)
	return dial(t, co)
}

// honest returns the right completions for a read of ram, all in pieces of at most mps bytes, with
// a zero stamp.
func honest(r Request, ram []byte, mps int) (answers []Completion) {
	start := int(r.Addr)
	for cur := start; cur < start+r.Len; {
		page := cur &^ (pageSize - 1)
		dw, stop := cut(cur-page, start+r.Len-page, mps, 64)
		answers = append(answers, Completion{Requester: r.Requester, Tag: r.Tag, Data: true,
			ByteCount: start + r.Len - cur, Lower: uint8(cur & 0x7f), Payload: ram[page+dw : page+stop]})
		cur = page + stop
	}
	return answers
}

func datagram(s Stamp, c Completion) []byte {
	return append(c.AppendHeaderTo(s.AppendTo(nil), len(c.Payload)), c.Payload...)
}

// readOne reads n bytes at addr and wants them right or, failing that, an error within a deadline
// and a right prefix.
func readOne(t *testing.T, c *Client, ram []byte, addr, n int) error {
	t.Helper()
	buf := make([]byte, n)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	good, err := bridge.Read(ctx, c, bridge.PhysAddr(addr), buf, false)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer within the deadline: %v", err)
	}
	if err == nil && good != n {
		t.Errorf("%d of %d bytes are good, without an error", good, n)
	}
	if string(buf[:good]) != string(ram[addr:addr+good]) {
		t.Errorf("%d bytes at %#x are wrong", good, addr)
	}
	return err
}
