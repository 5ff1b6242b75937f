package nettlp

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/bridge/dump"
)

// asker sends raw TLPs to an adapter on one tag and takes what comes back.
type asker struct {
	t *testing.T
	p *ports
}

func ask(t *testing.T, mem bridge.Memory, o AdapterOptions) (asker, *Adapter) {
	t.Helper()
	local, listen := newPair()
	o.Listen = listen
	a, err := NewAdapter(mem, &o)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, a)
	p, err := openPorts(local, listen, BasePort, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return asker{t, p}, a
}

// send sends a TLP and returns the datagrams that arrive until none did for a while.
func (a asker) send(tlp []byte) (answers [][]byte) {
	a.t.Helper()
	if err := a.p.send(0, append(Stamp{}.AppendTo(nil), tlp...)); err != nil {
		a.t.Fatal(err)
	}
	buf := make([]byte, maxBatch)
	for {
		ready, err := a.p.wait(50 * time.Millisecond)
		if err != nil {
			a.t.Fatal(err)
		}
		if len(ready) == 0 {
			return answers
		}
		came, err := a.p.recv(0, buf)
		if err != nil {
			continue
		}
		for d, ok := came.next(); ok; d, ok = came.next() {
			answers = append(answers, append([]byte(nil), d...))
		}
	}
}

func TestAdapterAnswers(t *testing.T) {
	ram := randomRAM(1 << 16)
	fake := bridgetest.NewFake(ram)
	fake.Fail(0x8000, 64, bridge.ErrRefused)
	fake.Fail(0x9000, 64, errors.New("disk on fire"))
	for _, tc := range []struct {
		name string
		tlp  string
		want []string // headers of the completions
		data string   // and the bytes of their payloads that were asked for
		stat Stats
	}{
		{"64 bytes", "00000010 1b0000ff 00001000", []string{"4a000010 00000040 1b000000"}, string(ram[0x1000:0x1040]),
			Stats{Requests: 1, Completions: 1, Bytes: 64}},
		{"512 bytes at MPS 256", "00000080 1a0000ff 0000c000",
			[]string{"4a000040 00000200 1a000000", "4a000040 00000100 1a000000"}, string(ram[0xc000:0xc200]),
			Stats{Requests: 1, Completions: 2, Bytes: 512}},
		{"attributes are copied", "00502001 1b00000f 00001000", []string{"4a502001 00000004 1b000000"},
			string(ram[0x1000:0x1004]), Stats{Requests: 1, Completions: 1, Bytes: 4}},
		{"unaligned", "00000003 1b000038 00001000", []string{"4a000003 00000007 1b000003"},
			"\x00\x00\x00" + string(ram[0x1003:0x100a]) + "\x00\x00", Stats{Requests: 1, Completions: 1, Bytes: 7}},
		{"a flush", "00000001 1b000000 00001000", []string{"4a000001 00000001 1b000000"}, "\x00\x00\x00\x00",
			Stats{Requests: 1, Completions: 1, Bytes: 1}},
		{"outside RAM", "00000010 1b0000ff 00010000", []string{"0a000000 00002040 1b000000"}, "",
			Stats{Requests: 1, Unsupported: 1, OutsideRAM: 1, Offenders: []bridge.PhysAddr{0x10000}}},
		{"a refused address", "00000010 1b0000ff 00008000", []string{"0a000000 00002040 1b000000"}, "",
			Stats{Requests: 1, Unsupported: 1}},
		{"a failing memory", "00000010 1b0000ff 00009000", []string{"0a000000 00008040 1b000000"}, "",
			Stats{Requests: 1, Aborted: 1}},
		{"a locked read", "01000010 1b0000ff 00001000", []string{"0a000000 00002040 1b000000"}, "",
			Stats{Unsupported: 1}},
		{"across 4 KiB", "00000010 1b0000ff 00001fe0", nil, "", Stats{Requests: 1, Crossing: 1}},
		{"a write", "40000001 1b00000f 00001000 deadbeef", nil, "", Stats{Writes: 1}},
		{"a completion", "4a000001 00000004 1b000000 00000000", nil, "", Stats{Malformed: 1}},
		{"nothing", "", nil, "", Stats{Malformed: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			as, a := ask(t, fake, AdapterOptions{})
			var headers []string
			var data strings.Builder
			var last Stamp
			for i, d := range as.send(unhex(t, tc.tlp)) {
				stamp, tlp, _ := DecodeStamp(d)
				if i > 0 && !stamp.After(last) {
					t.Errorf("stamp %+v follows %+v", stamp, last)
				}
				last = stamp
				headers = append(headers, spaced(tlp[:12]))
				data.Write(tlp[12:])
			}
			if d := cmp.Diff(tc.want, headers); d != "" {
				t.Errorf("headers: %s", d)
			}
			if data.String() != tc.data {
				t.Errorf("data are %x, want %x", data.String(), tc.data)
			}
			if d := cmp.Diff(tc.stat, a.Stats()); d != "" {
				t.Errorf("stats: %s", d)
			}
		})
	}
	if string(ram) != string(randomRAM(len(ram))) {
		t.Error("RAM was written")
	}
}

func spaced(header []byte) string {
	var s []string
	for i := 0; i < len(header); i += 4 {
		s = append(s, hex.EncodeToString(header[i:i+4]))
	}
	return strings.Join(s, " ")
}

func TestAdapterOfAFileThatIsCutShort(t *testing.T) {
	const size, left = 1 << 20, 1 << 19
	ram := randomRAM(size)
	path := filepath.Join(t.TempDir(), "ram")
	if err := os.WriteFile(path, ram, 0o600); err != nil {
		t.Fatal(err)
	}
	mem, err := dump.OpenFiles([]string{path}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	c, a := pair(t, mem, AdapterOptions{}, Options{})
	if err := os.Truncate(path, left); err != nil {
		t.Fatal(err)
	}
	if err := readOne(t, c, ram, left, 64); !errors.Is(err, bridge.ErrRefused) {
		t.Errorf("what is gone: %v", err)
	}
	if err := readOne(t, c, ram, left-64, 64); err != nil {
		t.Errorf("what is left: %v", err)
	}
	if got := a.Stats().Aborted; got == 0 {
		t.Error("no completer abort was counted")
	}
}

func TestAdapterOptions(t *testing.T) {
	at := netip.MustParseAddr("127.77.255.254")
	for says, o := range map[string]*AdapterOptions{
		"no address":                   nil,
		"tags":                         {Listen: at, Tags: 257},
		"mps":                          {Listen: at, MPS: 200},
		"rcb":                          {Listen: at, RCB: 32},
		"delay":                        {Listen: at, Link: Link{Delay: -1}},
		"probability":                  {Listen: at, Link: Link{Loss: math.NaN()}},
		"is not one of this machine's": {Listen: netip.MustParseAddr("192.0.2.1")},
	} {
		if _, err := NewAdapter(bridgetest.NewFake(nil), o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", o, err, says)
		}
	}
}

// A delay is latency: the requests of a batch wait together.
func TestDelayIsLatency(t *testing.T) {
	const delay = 20 * time.Millisecond
	ram := randomRAM(1 << 16)
	c, _ := pair(t, viewOf(ram), AdapterOptions{Link: Link{Delay: delay}}, Options{Timeout: time.Second})
	start := time.Now()
	if err := readOne(t, c, ram, 0, 16*512); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < delay || d > 8*delay {
		t.Errorf("16 requests at once took %v, each is delayed by %v", d, delay)
	}
}

func TestSameSeedSameLosses(t *testing.T) {
	run := func() (got []bool) {
		l := newLink(Link{Loss: 0.5, Seed: 42}, nil, func() {})
		for range 64 {
			got = append(got, l.loses())
		}
		return got
	}
	if d := cmp.Diff(run(), run()); d != "" {
		t.Error(d)
	}
}

func TestAdapterStops(t *testing.T) {
	for name, stop := range map[string]func(a *Adapter, cancel func()){
		"by its context": func(_ *Adapter, cancel func()) { cancel() },
		"by Close":       func(a *Adapter, _ func()) { a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			_, listen := newPair()
			a, err := NewAdapter(bridgetest.NewFake(nil), &AdapterOptions{Listen: listen})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			served := make(chan error)
			go func() { served <- a.Serve(ctx) }()
			time.Sleep(5 * time.Millisecond)
			stop(a, cancel)
			select {
			case err := <-served:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(2 * time.Second):
				t.Fatal("still serving")
			}
		})
	}
}
