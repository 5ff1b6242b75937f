package gdbstub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// TestStorm sends random packets, good and bad, to sessions with a machine that can do everything.
// Each request that has a reply must get one, and each reply must be whole and its own; a read of
// memory that is asked after every bunch shows that the two sides are in step. `make abuse` sends
// many more than the few of every day.
func TestStorm(t *testing.T) {
	seed := numberFrom(t, "PHYSGDB_ABUSE_SEED", uint64(time.Now().UnixNano()))
	packets := int64(numberFrom(t, "PHYSGDB_ABUSE_PACKETS", 50_000))
	corpus := stormCorpus(t)
	t.Logf("seed %d", seed)

	var sent, open atomic.Int64
	heap := watchHeap()
	before, start := runtime.NumGoroutine(), time.Now()
	var workers sync.WaitGroup
	for worker := range 2 * runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := uint64(0); sent.Load() < packets && !t.Failed(); n++ {
				s := &storm{t: t, rnd: rand.New(rand.NewPCG(seed+uint64(worker), n)), corpus: corpus}
				s.name = fmt.Sprintf("session %d of worker %d", n, worker)
				s.play(&open)
				sent.Add(s.sent)
			}
		})
	}
	workers.Wait()
	took := time.Since(start)
	peak := heap()
	t.Logf("%d packets in %v: %.0f packets/s, peak heap %.1f MiB", sent.Load(), took.Round(time.Millisecond),
		float64(sent.Load())/took.Seconds(), float64(peak)/(1<<20))
	for try := 0; open.Load() > 0 || runtime.NumGoroutine() > before; try++ {
		if try == 1000 {
			t.Fatalf("%d targets and %d goroutines are left", open.Load(), runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
	if peak > 256<<20 {
		t.Errorf("the heap grew to %d bytes", peak)
	}
}

// numberFrom reads a number from the environment.
func numberFrom(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// watchHeap looks at the live heap, garbage included, until the returned function is called, which
// says how large it was.
func watchHeap() (peak func() uint64) {
	stop, ended := make(chan struct{}), make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var most uint64
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-stop:
				ended <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-ended
	}
}

// stormCorpus is one of every packet that is known, and what real clients have sent.
func stormCorpus(t *testing.T) [][]byte {
	t.Helper()
	all := []string{
		"?", "!", "Hg0", "Hgp1.1", "Hc-1", "Hgp0.0", "Hgp-1.-1", "T1", "Tp1.2", "g", "G00", "p0", "p2c", "pffffffffffffffff",
		"P2c=0050000000000000", "P0=00", "m5105000,10", "m0,0", "mffffffffffffffff,ffffffffffffffff", "x0,0", "xffff,7fffffffffffffff",
		"m-1,1", "M0,1:00", "X0,1:}", "Z0,0,1", "z1,0,1", "c", "C05", "s", "S05;0", "D", "D;1", "D;7", "k", "R00",
		"qSupported:multiprocess+;error-message+", "qSupported:xmlRegisters=i386", "QStartNoAckMode", "qXfer:features:read:target.xml:0,1000",
		"qXfer:features:read:target.xml:40000000,ffffffff", "qXfer:threads:read::0,ffffffffffffffff", "qXfer:libraries:read::0,40",
		"qXfer:osdata:read:keys:0,1000", "qXfer:osdata:read:a:b:0,1", "qXfer:osdata:read:\xff\x00:0,1", "qXfer:auxv:read::0,10",
		"qXfer:vmcoreinfo:read::fffffffffffffff0,20", "qXfer:exec-file:read:1:0,10", "qXfer:features:write:a:0:00", "qC", "qAttached:1",
		"qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,p1.1", "qOffsets", "qSymbol::", "qSymbol:ff:61", "qSymbol::62", "qRcmd,6162",
		"qRcmd,7", "vCont?", "vCont;c", "vCont;s:p1.1;c:p1.-1", "vCont;;;", "vAttach;1", "vAttach;7", "vAttach;-1", "vKill;1", "vKill;7",
		"vFile:setfs:0", "vFile:open:2f646d657367,0,0", "vFile:pread:0,10,0", "vFile:fstat:0", "vFile:close:0", "vFile:readlink:61",
		"qMemoryRegionInfo:0", "qMemoryRegionInfo:ffffffffffffffff", "Qqemu.PhyMemMode:0", "qqemu.PhyMemMode", "qqemu.Supported",
		"vRun;61", "vMustReplyEmpty", "qSearch:memory:0;10;a", "qCRC:0,10", "", "v", "q", "Q", "qTStatus", "\x00", "\xff\xfe",
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		transcript, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, requests(t, transcript)...)
	}
	corpus := make([][]byte, len(all))
	for i, packet := range all {
		corpus[i] = []byte(packet)
	}
	return corpus
}

// storm is a connection that makes its client up: whenever the server wants to read it judges the
// replies to the last bunch and generates the next one. That needs no second goroutine and no
// socket.
type storm struct {
	t      *testing.T
	rnd    *rand.Rand
	corpus [][]byte
	key    uint64
	name   string
	fault  string // the first, which ends the session

	in     bytes.Buffer // the server has yet to read
	frames *rsp.Writer  // to in
	out    bytes.Buffer // the server has said
	asked  []question   // in the bunch that is under way

	bunches int  // to come
	noAck   bool // since the first bunch
	late    bool // some answers come too late
	mayEnd  bool // something was sent that ends the session
	sent    int64
}

// question is a packet and what is known of its reply.
type question struct {
	packet  []byte
	want    []byte // nil: anything
	silent  bool   // may also have no reply
	dropped bool   // may have none either, as the next question comes before it: a monitor command is then given up
}

// play is one session from connect to end.
func (s *storm) play(count *atomic.Int64) {
	s.key = s.rnd.Uint64() >> 16
	s.frames = rsp.NewWriter(&s.in)
	s.bunches = 1 + s.rnd.IntN(200)
	s.noAck, s.late = s.rnd.IntN(10) > 0, s.rnd.IntN(50) == 0
	o := &gdbstub.Options{}
	target := newOracle(s.key, count)
	if s.late {
		o.Deadline, target.hang, s.bunches = 20*time.Millisecond, 30*time.Millisecond, min(s.bunches, 20)
	}
	s.greet()
	err := gdbstub.NewServer(open(target), o).Serve(context.Background(), s)
	switch {
	case s.late && err != nil && strings.Contains(err.Error(), "open target: no answer"): // refused on a busy computer
	case s.fault != "":
		s.t.Errorf("%s: %s", s.name, s.fault)
	case err != nil && !s.mayEnd || s.bunches > 0 && !s.mayEnd:
		s.t.Errorf("%s ended: %v", s.name, err)
	}
}

// greet starts like gdb or like lldb.
func (s *storm) greet() {
	if s.rnd.IntN(4) > 0 {
		s.ask("qSupported:multiprocess+;error-message+", nil)
	}
	if s.noAck {
		s.ask("QStartNoAckMode", []byte("OK"))
	}
	if s.rnd.IntN(2) == 0 {
		s.ask("!", []byte("OK"))
	}
}

func (s *storm) ask(packet string, want []byte) { s.send(question{packet: []byte(packet), want: want}) }

func (s *storm) send(q question) {
	if err := s.frames.WritePacket(q.packet); err != nil {
		s.t.Errorf("%q: %v", q.packet, err)
	}
	s.sent++
	s.asked = append(s.asked, q)
}

// Read gives the server some of the stream.
func (s *storm) Read(p []byte) (int, error) {
	if s.in.Len() == 0 {
		if !s.judge() || s.bunches == 0 {
			return 0, io.EOF
		}
		s.bunches--
		s.bunch()
	}
	return s.in.Read(p[:1+s.rnd.IntN(len(p))])
}

// bunch generates the next requests.
func (s *storm) bunch() {
	for range 1 + s.rnd.IntN(30) {
		switch s.rnd.IntN(4) {
		case 0:
			s.ask(fmt.Sprintf("m%x,%x", s.rnd.Uint64()>>s.rnd.IntN(64), s.length()), nil)
		default:
			s.guess()
		}
	}
	// Whatever came before, the machine is there after this, stopped, and the first thread is
	// selected.
	s.in.WriteString("\x03\x03") // the second has nothing to stop, and so no reply
	s.asked = append(s.asked, question{silent: true})
	s.ask("vAttach;1", nil)
	s.ask("Hgp1.3", []byte("OK"))
	s.send(question{packet: []byte("qC"), want: []byte("3")})
	s.sentinel()
	if s.rnd.IntN(100) == 0 {
		s.finale()
	}
}

// noise is what belongs to nothing and must be skipped.
func (s *storm) noise() {
	switch s.rnd.IntN(20) {
	case 0:
		s.in.WriteString("+++")
	case 1:
		s.in.WriteString("junk\x00\xff #00")
	case 2:
		s.in.WriteString("$a packet that was given up")
	case 3:
		if s.noAck {
			s.in.WriteString("----")
		}
	case 4:
		if !s.noAck {
			s.in.WriteString("$damaged#00") // gets a '-'
		}
	}
}

// finale is what the session cannot outlive.
func (s *storm) finale() {
	s.mayEnd, s.bunches = true, 0
	switch s.rnd.IntN(3) {
	case 0:
		s.in.WriteString("$m0,1#")
	case 1:
		s.in.WriteString("$damaged#zz")
	case 2:
		s.in.WriteString("$" + strings.Repeat("0", rsp.DefaultLimit+1))
	}
}

// length is how much is read: little as a rule.
func (s *storm) length() int {
	if s.rnd.IntN(500) == 0 {
		return 1 + s.rnd.IntN(0x20000)
	}
	return 1 + s.rnd.IntN(256)
}

// sentinel reads memory that no other request reads.
func (s *storm) sentinel() {
	addr := s.rnd.Uint64()>>1 | 1<<62 // far from the end of the address space
	want := rsp.AppendHex(nil, memoryAt(s.key, addr, 16))
	if len(want) == 0 {
		want = []byte("E14")
	}
	s.ask(fmt.Sprintf("m%x,10", addr), want)
}

// guess is a known packet, whole or spoilt.
func (s *storm) guess() {
	packet := bytes.Clone(s.corpus[s.rnd.IntN(len(s.corpus))])
	for range s.rnd.IntN(3) {
		packet = s.spoil(packet)
	}
	silent, dropped := false, isNamed(packet, "qRcmd")
	switch {
	case len(packet) == 0:
	case bytes.HasPrefix(packet, []byte("QStartNoAckMode")) && !s.noAck: // would be a change of mode
		return
	case packet[0] == 'D' || packet[0] == 'k' || bytes.HasPrefix(packet, []byte("vKill")):
		if s.rnd.IntN(20) > 0 {
			return
		}
		s.mayEnd = true
	case packet[0] == 'R' || packet[0] == 'c' || packet[0] == 'C' || isNamed(packet, "vCont") && string(packet) != "vCont?":
		silent = true
	case s.late && s.rnd.IntN(20) > 0 && bytes.Contains(packet, []byte("5105")):
		return
	}
	if bytes.ContainsAny(packet, "$#") {
		return // it cannot be sent
	}
	s.noise()
	s.send(question{packet: packet, silent: silent, dropped: dropped})
	if silent || dropped { // so that what follows is not taken for its reply
		s.ask("qAttached", []byte("1"))
	}
}

// isNamed says whether name is the whole of the word that a packet begins with.
func isNamed(packet []byte, name string) bool {
	rest, found := bytes.CutPrefix(packet, []byte(name))
	return found && (len(rest) == 0 || !unicode.IsLetter(rune(rest[0])) || rest[0] >= 0x80)
}

// spoil changes a packet a little.
func (s *storm) spoil(p []byte) []byte {
	if len(p) == 0 {
		return []byte{byte(s.rnd.Uint32())}
	}
	at := s.rnd.IntN(len(p))
	switch s.rnd.IntN(7) {
	case 0:
		p[at] = byte(s.rnd.Uint32())
	case 1:
		p = p[:at]
	case 2:
		p = append(p[:at], p[at+1:]...)
	case 3:
		p = append(p, s.corpus[s.rnd.IntN(len(s.corpus))]...)
	case 4:
		p = append(p[:at:at], append([]byte("ffffffffffffffff"), p[at:]...)...)
	case 5:
		p = append(p[:at:at], append([]byte("-1"), p[at:]...)...)
	case 6:
		if s.rnd.IntN(100) == 0 {
			p = bytes.Repeat(p, min(1000, rsp.DefaultLimit/len(p)))
		}
	}
	return p
}

// judge compares what the server has said with what it was asked, and says whether all is well.
func (s *storm) judge() bool {
	replies := rsp.NewReader(&s.out, 4*rsp.DefaultLimit)
	at, printed := 0, false
	for {
		kind, reply, err := replies.Next()
		switch {
		case err == io.EOF:
			return s.silentFrom(at) && !printed
		case err != nil || kind == rsp.Damaged:
			return s.complain("a malformed reply (%v, %v)", kind, err)
		case kind != rsp.Packet:
			continue // an acknowledgement
		case len(reply) > 1 && reply[0] == 'O' && string(reply) != "OK" && !s.readsBytes(at):
			printed = true // the reply itself is to come
			continue
		}
		printed = false
		for at < len(s.asked) && !s.answers(reply, s.asked[at]) {
			if !s.asked[at].silent && !s.asked[at].dropped {
				return s.complain("%.60q is answered %.100q, want %.100q; before it %.60q", s.asked[at].packet, reply,
					s.asked[at].want, s.before(at))
			}
			at++
		}
		if at == len(s.asked) {
			return s.complain("a reply too many: %.100q", reply)
		}
		at++
	}
}

// before returns the packets that led to one.
func (s *storm) before(at int) [][]byte {
	var all [][]byte
	for _, q := range s.asked[max(0, at-5):at] {
		all = append(all, q.packet)
	}
	return all
}

// readsBytes says whether the next reply may be memory as it is, as lldb gets it: that may begin
// like text for the console.
func (s *storm) readsBytes(at int) bool {
	for _, q := range s.asked[at:] {
		if !q.silent && !q.dropped {
			return len(q.packet) > 0 && q.packet[0] == 'x'
		}
	}
	return false
}

// answers says whether reply may be one to q. Silence is what a request to run gets here, as the
// machine runs, unless it is a step: then a stop is reported.
func (s *storm) answers(reply []byte, q question) bool {
	switch {
	case q.silent:
		return bytes.HasPrefix(reply, []byte("T02"))
	case q.dropped:
		return string(reply) != "1" // which is the next one's
	case q.want == nil:
		return !bytes.HasPrefix(reply, []byte("T02")) || len(q.packet) > 0 && (q.packet[0] == 's' || q.packet[0] == 'S')
	case string(q.packet) == "qC":
		return bytes.HasPrefix(reply, []byte("QC")) && bytes.HasSuffix(reply, q.want)
	}
	return bytes.Equal(reply, q.want) || s.late && (string(reply) == "E14" || string(reply) == "E01" || bytes.HasPrefix(reply, []byte("E.no answer")))
}

// silentFrom ends a bunch: the questions from at on got no reply.
func (s *storm) silentFrom(at int) bool {
	for _, q := range s.asked[at:] {
		if !q.silent && !q.dropped {
			return s.complain("%.60q is not answered", q.packet)
		}
	}
	s.asked = s.asked[:0]
	return true
}

func (s *storm) complain(format string, args ...any) bool {
	if !s.mayEnd {
		s.fault = fmt.Sprintf(format, args...)
	}
	s.mayEnd = true
	return false
}

func (s *storm) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s *storm) Close() error                     { return nil }
func (s *storm) LocalAddr() net.Addr              { return nil }
func (s *storm) RemoteAddr() net.Addr             { return nil }
func (s *storm) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *storm) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *storm) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
