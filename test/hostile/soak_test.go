package hostile

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/gdbstub/rsp"
)

var soak = flag.Duration("soak", 0, "serve debuggers and random clients for so long, under the race detector")

// sample is the resource use of a process at one time.
type sample struct {
	at          time.Duration
	memory      int // of its own, in bytes
	descriptors int
}

func (s sample) String() string {
	return fmt.Sprintf("after %3.0f s: %d MB, %d descriptors", s.at.Seconds(), s.memory>>20, s.descriptors)
}

func take(pid int, begin time.Time) sample {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return sample{time.Since(begin), ownMemory(pid), len(open)}
}

// TestSoak serves one machine with gdb, lldb and random clients at once. Neither memory nor
// descriptors grow, and the race detector reports nothing.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("no -soak")
	}
	dir := t.TempDir()
	physgdb := filepath.Join(dir, "physgdb")
	if out, err := exec.Command("go", "build", "-race", "-o", physgdb, "physgdb/cmd/physgdb").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	forEachImage(t, func(t *testing.T, image string) { soakOne(t, dir, physgdb, image) })
}

func soakOne(t *testing.T, dir, physgdb, image string) {
	if o, err := Run(t.Context(), dir, physgdb, "symbols", image, "-o", "made"); err != nil || o.Status != 0 {
		t.Fatalf("symbols: %+v, %v", o, err)
	}
	s, err := Serve(t.Context(), dir, physgdb, image)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), *soak)
	defer cancel()
	counts := crowd(ctx, t, dir, s)
	const warm = 5 // the fraction of the time for filling caches
	samples := []sample{take(s.cmd.Process.Pid, begin)}
	for _, part := range []time.Duration{*soak / warm, *soak / 2, *soak * 9 / 10} {
		select {
		case <-time.After(part - time.Since(begin)):
		case <-t.Context().Done():
		}
		samples = append(samples, take(s.cmd.Process.Pid, begin))
	}
	<-ctx.Done()
	counts.wait()
	const quiet = 3 * time.Second // for the server to notice closed connections
	time.Sleep(quiet)
	end := take(s.cmd.Process.Pid, begin)
	for _, one := range append(samples, end) {
		t.Log(one)
	}
	t.Log(counts.String())
	filled := max(samples[1].memory, samples[2].memory)
	if last := max(samples[3].memory, end.memory); last > filled+filled/4 {
		t.Errorf("memory grew from %d to %d MB", filled>>20, last>>20)
	}
	if end.descriptors > samples[0].descriptors+2 {
		t.Errorf("descriptors grew from %d to %d", samples[0].descriptors, end.descriptors)
	}
	s.cmd.Process.Signal(os.Interrupt)
	s.cmd.Wait()
	if text := s.stderr.String(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
		t.Errorf("serve says:\n%.8000s", text)
	}
}

// tally counts the sessions of clients. The goroutines of the clients end with their context.
type tally struct {
	mu      sync.Mutex
	done    map[string]int
	clients sync.WaitGroup
}

func (c *tally) wait() { c.clients.Wait() }

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[what]++
}

func (c *tally) String() string { return fmt.Sprint(c.done) }

// crowd starts clients: gdb, lldb, one that sends the requests of debuggers, and some that send
// random packets.
func crowd(ctx context.Context, t *testing.T, dir string, s *Server) *tally {
	c := &tally{done: map[string]int{}}
	again := func(what string, f func() error) {
		c.clients.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				c.add(what)
			}
		})
	}
	again("gdb", func() error {
		return session(ctx, dir, "gdb", "-nx", "-batch", "-ex", "target remote "+s.address, "-ex", "bt", "-ex", "info threads",
			"-ex", "monitor ps", "-ex", "p init_task.comm")
	})
	again("lldb", func() error {
		return session(ctx, dir, "lldb-14", "-x", "-b", filepath.Join(dir, "made"), "-o", "gdb-remote "+s.address, "-o", "thread list",
			"-o", "bt", "-o", "memory read --count 64 `(long)&init_task`")
	})
	again("client", func() error {
		_, _, err := s.Debug(ctx)
		return err
	})
	const randomClients = 4
	for i := range randomClients {
		rng := rand.New(rand.NewPCG(uint64(i), 12))
		again("random client", func() error { return random(ctx, rng, s.address) })
	}
	return c
}

// session runs a debugger to its end.
func session(ctx context.Context, dir, name string, args ...string) error {
	o, err := Run(ctx, dir, append([]string{name}, args...)...)
	if err != nil {
		return err
	}
	if o.Status < 0 {
		return fmt.Errorf("killed after %v: %s", o.Took, o.Stderr)
	}
	return nil
}

// random connects, sends random packets, and disconnects, with or without reading the answers.
func random(ctx context.Context, rng *rand.Rand, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(MaxAnswer)) // it is a TCP connection
	beginnings := []string{"m", "g", "p", "qXfer:threads:read::", "qXfer:libraries:read::", "vFile:open:", "vCont", "H", "qRcmd,", "X", "G",
		"QStartNoAckMode", "qSupported:", "jThreadsInfo", "x", "vAttach;", "D", "qSearch:memory:", "k", "\x03", "T", "qfThreadInfo"}
	c := rsp.NewConn(conn, 1<<20)
	for range rng.IntN(30) {
		packet := []byte(beginnings[rng.IntN(len(beginnings))])
		for range rng.IntN(40) {
			packet = append(packet, "0123456789abcdef,;:+-xyz/."[rng.IntN(26)])
		}
		if c.Write(packet) != nil {
			return nil // disconnected, which is allowed
		}
		if rng.IntN(2) == 0 {
			if _, _, err := c.Read(); err != nil {
				return nil
			}
		}
	}
	time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
	return nil
}
