package gdbstub_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// TestACrowd is a hundred clients that ask at random, each checking that every reply is its own,
// while the machine of one more never answers and yet another stops reading in the middle of its
// replies. `make abuse` lets them go on for longer.
func TestACrowd(t *testing.T) {
	const clients, deadline = 100, 2 * time.Second
	seconds := numberFrom(t, "PHYSGDB_ABUSE_SECONDS", 3)
	seed := numberFrom(t, "PHYSGDB_ABUSE_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	before := runtime.NumGoroutine()

	var open, keys atomic.Int64
	stall := make(chan struct{})
	opener := func(context.Context) (gdbstub.Target, error) { // the first is the one that never answers
		o := newOracle(uint64(keys.Add(1)), &open)
		if o.key == 1 {
			o.stall = stall
		}
		return o, nil
	}
	addr, stop := crowdServer(t, opener, deadline)
	stalled := meet(t, addr)
	deaf := meet(t, addr)
	go deaf.flood() // ends with the server

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	var warm, crowd sync.WaitGroup
	latencies := make([][]time.Duration, clients+1)
	warm.Add(clients)
	for n := range clients {
		c := meet(t, addr)
		rnd := rand.New(rand.NewPCG(seed, uint64(n)))
		crowd.Go(func() {
			for range 50 {
				c.question(rnd)
			}
			c.took = c.took[:0]
			warm.Done()
			for ctx.Err() == nil && c.question(rnd) {
			}
			latencies[n] = c.took
		})
	}
	crowd.Go(func() {
		for ctx.Err() == nil && stalled.expect("m1000,8", "E14") {
		}
		latencies[clients] = stalled.took
	})
	warm.Wait()
	start := residentSet(t)
	crowd.Wait()
	end := residentSet(t)

	report(t, latencies, deadline)
	kept := 0.0 // of the test's own: the latencies
	for _, took := range latencies {
		kept += float64(cap(took)) * 8 / (1 << 20)
	}
	t.Logf("resident set %.1f MiB after warm-up, %.1f MiB at the end and %.1f MiB of latencies", start, end-kept, kept)
	if end-kept > start*1.25+8 {
		t.Errorf("the resident set grew from %.1f to %.1f MiB", start, end)
	}
	stop()
	close(stall)
	for try := 0; open.Load() > 0 || runtime.NumGoroutine() > before; try++ {
		if try == 2000 {
			t.Fatalf("%d targets and %d goroutines are left", open.Load(), runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
}

// crowdServer is a server that the test itself stops, as it looks at what is left then.
func crowdServer(t *testing.T, opener gdbstub.Opener, deadline time.Duration) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := &gdbstub.Options{Deadline: deadline}
	go func() { ended <- gdbstub.NewServer(opener, o).ServeListener(ctx, ln) }()
	return ln.Addr().String(), sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * deadline):
			t.Error("the server does not end")
		}
	})
}

// report fails the test if a reply came late, and prints how long the others took. The last client
// is the one whose machine never answers: it gets its errors at the deadline.
func report(t *testing.T, latencies [][]time.Duration, deadline time.Duration) {
	t.Helper()
	last := len(latencies) - 1
	if n := len(latencies[last]); n == 0 || slices.Max(latencies[last]) > deadline*3/2 {
		t.Errorf("the client of the machine that never answers got its answer after %v", latencies[last])
	}
	all := slices.Concat(latencies[:last]...)
	slices.Sort(all)
	if len(all) == 0 {
		t.Fatal("no client was answered")
	}
	worst := all[len(all)-1]
	t.Logf("%d clients, %d replies: median %v, 99%% %v, 99.99%% %v, worst %v; %d refusals in time on the one that stalls",
		last, len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)*9999/10000], worst, len(latencies[last]))
	if worst > deadline {
		t.Errorf("a reply took %v", worst)
	}
}

// residentSet is the memory of this process in MiB that is in RAM, garbage given back.
func residentSet(t *testing.T) float64 {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	var kib float64
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	if _, err := fmt.Sscan(string(after), &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// guest is one client of a crowd.
type guest struct {
	t    *testing.T
	conn net.Conn
	wire *rsp.Conn
	key  uint64 // of its machine
	took []time.Duration
}

// meet connects a client and learns whose machine it has.
func meet(t *testing.T, addr string) *guest {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := &guest{t: t, conn: conn, wire: rsp.NewConn(conn, 4*rsp.DefaultLimit)}
	g.expect("qSupported:", g.ask("qSupported:"))
	g.expect("QStartNoAckMode", "OK")
	g.wire.StartNoAck()
	if _, err := fmt.Sscanf(g.ask("qOffsets"), "TextSeg=%x", &g.key); err != nil {
		t.Fatal(err)
	}
	return g
}

// ask returns the reply to a packet, and the text that came before it.
func (g *guest) ask(packet string) string {
	start := time.Now()
	if err := g.wire.Write([]byte(packet)); err != nil {
		g.t.Error(err)
		return ""
	}
	var printed string
	for {
		_, reply, err := g.wire.Read()
		if err != nil {
			g.t.Errorf("client %d: %q: %v", g.key, packet, err)
			return ""
		}
		if len(reply) > 2 && reply[0] == 'O' {
			printed += string(reply)
			continue
		}
		g.took = append(g.took, time.Since(start))
		return printed + string(reply)
	}
}

func (g *guest) expect(packet, want string) bool {
	got := g.ask(packet)
	if got != want {
		g.t.Errorf("client %d: %q is answered %.100q, want %.100q", g.key, packet, got, want)
	}
	return got == want
}

// question sends a request whose answer differs for every client.
func (g *guest) question(rnd *rand.Rand) bool {
	id := 1 + rnd.IntN(5)
	switch rnd.IntN(9) {
	case 0:
		cr3 := rsp.AppendHex(nil, word(rnd.Uint64()))
		return g.expect("P2c="+string(cr3), "OK") && g.expect("p2c", string(cr3))
	case 1:
		return g.expect(fmt.Sprintf("Hg%x", id), "OK") && g.expect("qC", fmt.Sprintf("QC%x", id)) &&
			g.expect("p10", string(rsp.AppendHex(nil, word(uint64(id))))) // rip
	case 2:
		return g.expect(fmt.Sprintf("qThreadExtraInfo,%x", id), hex.EncodeToString(fmt.Appendf(nil, "%x-%x", g.key, id)))
	case 3:
		line := hex.EncodeToString(word(rnd.Uint64()))
		return g.expect("qRcmd,"+line, hex.EncodeToString(fmt.Appendf(nil, "%x:%s", g.key, line)))
	case 4:
		row := fmt.Sprintf("<item><column name=\"key\">%x</column></item>", g.key)
		return strings.Contains(g.ask("qXfer:osdata:read:keys:0,1000"), row)
	}
	return g.memory(rnd.Uint64()>>1, 1+rnd.IntN(1+rnd.IntN(4096)))
}

func (g *guest) memory(addr uint64, length int) bool {
	want := hex.EncodeToString(memoryAt(g.key, addr, length))
	if want == "" {
		want = "E14"
	}
	return g.expect(fmt.Sprintf("m%x,%x", addr, length), want)
}

// flood asks for large replies and reads none of them.
func (g *guest) flood() {
	for g.wire.Write([]byte("m8000,10000")) == nil {
	}
}

// TestWhatAClientCosts is the memory of clients that make the server keep as much for their packets
// as they can: the figure in the documentation of Options.MaxClients.
func TestWhatAClientCosts(t *testing.T) {
	const clients, most = 100, 1 << 20
	target := newBare()
	target.memory = []region{{0, bytes.Repeat([]byte("}"), 64<<10)}}
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	addr := serve(t, open(target), nil)
	before := live()
	var conns []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		giant := "q" + strings.Repeat("0", rsp.DefaultLimit-1)
		for _, packet := range []string{"QStartNoAckMode", "m0,10000", "x0,10000", giant} {
			if err := rsp.NewWriter(conn).WritePacket([]byte(packet)); err != nil {
				t.Fatal(err)
			}
		}
		in := rsp.NewReader(conn, 4*rsp.DefaultLimit)
		for replies := 0; replies < 4; {
			kind, _, err := in.Next()
			if err != nil {
				t.Fatal(err)
			}
			if kind == rsp.Packet {
				replies++
			}
		}
		conns = append(conns, conn)
	}
	cost := (live() - before) / clients
	t.Logf("%d KiB for each of %d clients", cost>>10, len(conns))
	if cost > most {
		t.Errorf("a client costs %d bytes", cost)
	}
}

// TestAPacketThatIsTooLargeEndsTheSession without the server keeping it.
func TestAPacketThatIsTooLargeEndsTheSession(t *testing.T) {
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- gdbstub.NewServer(open(newBare()), nil).Serve(context.Background(), there) }()
	go func() { _, _ = io.Copy(here, io.MultiReader(strings.NewReader("$"), endless('0'))) }() // ends with the connection
	if err := <-ended; !errors.Is(err, rsp.ErrTooLong) {
		t.Errorf("ended by %v", err)
	}
}

// endless is one byte over and over.
type endless byte

func (b endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
