package nettlp

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestBatchIsSplitIntoDatagrams(t *testing.T) {
	for _, tc := range []struct {
		name    string
		bytes   string
		segment int
		want    []string
	}{
		{"one datagram", "abcdef", 0, []string{"abcdef"}},
		{"an empty one", "", 0, []string{""}},
		{"one, which the kernel reports as a batch", "abc", 3, []string{"abc"}},
		{"one shorter than a segment", "ab", 3, []string{"ab"}},
		{"whole segments", "abcdef", 3, []string{"abc", "def"}},
		{"a shorter end", "abcdefg", 3, []string{"abc", "def", "g"}},
		{"a length that makes no sense", "abc", -1, []string{"abc"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			tr := gsoBatch{rest: []byte(tc.bytes), segment: tc.segment}
			for d, ok := tr.next(); ok; d, ok = tr.next() {
				got = append(got, string(d))
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCoalesce(t *testing.T) {
	here, there := unix.RawSockaddrInet4{Port: 1}, unix.RawSockaddrInet4{Port: 2}
	of := func(port uint8, to unix.RawSockaddrInet4, due time.Duration, lengths ...int) (q []held) {
		for _, n := range lengths {
			q = append(q, held{due, port, to, make([]byte, n)})
		}
		return q
	}
	repeat := func(n, length int) (lengths []int) {
		for range n {
			lengths = append(lengths, length)
		}
		return lengths
	}
	for _, tc := range []struct {
		name  string
		queue []held
		want  int
	}{
		{"one", of(0, here, 0, 100), 1},
		{"equal lengths", of(0, here, 0, 100, 100, 100), 3},
		{"a shorter one is the last", of(0, here, 0, 100, 100, 50, 50), 3},
		{"a longer one begins a new batch", of(0, here, 0, 50, 100), 1},
		{"not what is due later", append(of(0, here, 5, 100, 100), of(0, here, 6, 100)...), 2},
		{"not another port", append(of(0, here, 0, 100), of(1, here, 0, 100)...), 1},
		{"not another peer", append(of(0, here, 0, 100), of(0, there, 0, 100)...), 1},
		{"no more than the kernel takes", of(0, here, 0, repeat(100, 80)...), 64},
		{"no longer than an IP packet", of(0, here, 0, repeat(20, 4114)...), 15},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLink(Link{}, nil, nil)
			if got := l.coalesce(tc.queue, 5); got != 1 {
				t.Errorf("%d without the kernel's help, want 1", got)
			}
			l.gso = true
			if got := l.coalesce(tc.queue, 5); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

// linkTo returns a link and sockets of a peer, which sent to it what the link can answer.
func linkTo(t *testing.T) (l *link, peer *ports, to unix.RawSockaddrInet4) {
	t.Helper()
	local, remote := newPair()
	far, err := openPorts(remote, local, BasePort, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(far.close)
	if peer, err = openPorts(local, remote, BasePort, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.close)
	l = newLink(Link{}, far, func() { t.Error("a datagram was dropped") })
	if l.gso = hasGSO(far.fds[0]); !l.gso {
		t.Skip("this kernel has no UDP segmentation offload")
	}
	if err := peer.send(0, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := recvFrom(far.fds[0], make([]byte, 8), &to); err != nil {
		t.Fatal(err)
	}
	return l, peer, to
}

// arrivals sends three datagrams by a link and returns what each receive brought.
func arrivals(t *testing.T, l *link, peer *ports, to *unix.RawSockaddrInet4) (got [][]string) {
	t.Helper()
	for _, d := range []string{"aaaa", "bbbb", "cc"} {
		l.transmit(0, to, []byte(d), 0)
	}
	l.release(0)
	buf := make([]byte, maxBatch)
	for {
		came, err := peer.recv(0, buf)
		if err != nil {
			return got
		}
		var one []string
		for d, ok := came.next(); ok; d, ok = came.next() {
			one = append(one, string(d))
		}
		got = append(got, one)
	}
}

func TestBatchIsSentAsOne(t *testing.T) {
	l, peer, to := linkTo(t)
	if d := cmp.Diff([][]string{{"aaaa", "bbbb", "cc"}}, arrivals(t, l, peer, &to)); d != "" {
		t.Error(d)
	}
}

// The kernel refuses trains without checksums.
func TestRefusedBatchIsSentOneByOne(t *testing.T) {
	l, peer, to := linkTo(t)
	if err := unix.SetsockoptInt(l.ports.fds[0], unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d := cmp.Diff([][]string{{"aaaa"}, {"bbbb"}, {"cc"}}, arrivals(t, l, peer, &to)); d != "" {
			t.Error(d)
		}
		if l.gso {
			t.Error("the kernel would be asked again")
		}
	}
}

// A program that knows nothing of trains gets datagrams.
func TestAdapterAnswersAnyone(t *testing.T) {
	local, listen := newPair()
	ram := randomRAM(1 << 12)
	a, err := NewAdapter(viewOf(ram), &AdapterOptions{Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, a)
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: local.AsSlice(), Port: BasePort},
		&net.UDPAddr{IP: listen.AsSlice(), Port: BasePort})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := Request{Requester: testID, Addr: 0x40, Len: 600}
	if _, err := conn.Write(r.AppendMRd(Stamp{}.AppendTo(nil))); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	var data strings.Builder
	for _, want := range []int{256, 256, 88} {
		buf := make([]byte, maxBatch)
		n, err := conn.Read(buf)
		if err != nil || n != stampSize+header3DW+want {
			t.Fatalf("datagram of %d bytes, %v; want %d bytes of data", n, err, want)
		}
		data.Write(buf[stampSize+header3DW : n])
	}
	if data.String() != string(ram[0x40:0x40+600]) {
		t.Error("the data are wrong")
	}
}
