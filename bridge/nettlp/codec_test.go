package nettlp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Reads as libtlp, real adapters and pcileech send them.
var reads = []struct {
	name string
	wire string
	req  Request
}{
	{"64 bytes", "00000010 1b0000ff 00001000", Request{Requester: 0x1b00, Addr: 0x1000, Len: 64}},
	{"7 bytes above 4 GiB", "20000003 1b000338 00000001 00001000",
		Request{Requester: 0x1b00, Tag: 3, Addr: 0x1_0000_1003, Len: 7}},
	{"4 bytes, last tag", "00000001 1b00ff0f 00000ff8", Request{Requester: 0x1b00, Tag: 255, Addr: 0xff8, Len: 4}},
	{"98 bytes", "00000019 1b00033f 3bb26800", Request{Requester: 0x1b00, Tag: 3, Addr: 0x3bb26800, Len: 98}},
	{"512 bytes", "00000080 1a0000ff c0000000", Request{Requester: 0x1a00, Addr: 0xc0000000, Len: 512}},
	{"4096 bytes", "00000000 040000ff 00000000", Request{Requester: 0x0400, Len: 4096}},
	{"one byte", "00000001 1b000008 00001000", Request{Requester: 0x1b00, Addr: 0x1003, Len: 1}},
	{"no bytes", "00000001 1b000000 00001000", Request{Requester: 0x1b00, Addr: 0x1000}},
}

func TestReadRequests(t *testing.T) {
	for _, tc := range reads {
		t.Run(tc.name, func(t *testing.T) {
			wire := unhex(t, tc.wire)
			if got := tc.req.AppendMRd(nil); !bytes.Equal(got, wire) {
				t.Errorf("encoded as %x, want %x", got, wire)
			}
			got, err := DecodeRequest(wire)
			if d := cmp.Diff(tc.req, got); err != nil || d != "" {
				t.Errorf("decoded with %v:\n%s", err, d)
			}
		})
	}
}

func TestEveryReadSurvivesTheWire(t *testing.T) {
	for off := range 4 {
		for n := 1; n <= pageSize-off; n++ {
			r := Request{Requester: 0x1b00, Tag: 9, Addr: 0x7000 + bridge.PhysAddr(off), Len: n, Class: 5, Attr: 2}
			got, err := DecodeRequest(r.AppendMRd(nil))
			if d := cmp.Diff(r, got); err != nil || d != "" {
				t.Fatalf("%d bytes at offset %d: %v\n%s", n, off, err, d)
			}
		}
	}
}

// What others send that we do not, or not so.
func TestForeignRequests(t *testing.T) {
	for _, tc := range []struct {
		name string
		wire string
		want Request
	}{
		{"4DW below 4 GiB, as libtlp does at 0xffffffff", "20000001 1b000008 00000000 fffffffc",
			Request{Requester: 0x1b00, Addr: 0xffffffff, Len: 1}},
		{"1024 DWs with a stray AT bit, as libtlp does", "00000400 1b0000ff 00001000",
			Request{Requester: 0x1b00, Addr: 0x1000, Len: 4096}},
		{"holes in a single DW", "00000001 1b000009 00001000", Request{Requester: 0x1b00, Addr: 0x1000, Len: 4}},
		{"holes in two DWs", "00000002 1b0000a5 00001000", Request{Requester: 0x1b00, Addr: 0x1000, Len: 8}},
		{"locked", "01000001 1b00000f 00001000", Request{Locked: true, Requester: 0x1b00, Addr: 0x1000, Len: 4}},
		{"an interrupt", "40000001 1b00030f fee1a000 01020304",
			Request{Write: true, Requester: 0x1b00, Tag: 3, Addr: 0xfee1a000, Len: 4, Payload: []byte{1, 2, 3, 4}}},
		{"a write of 5 bytes", "40000002 1b0001f8 00001000 000000d0 d1d2d3d4", Request{Write: true, Requester: 0x1b00,
			Tag: 1, Addr: 0x1003, Len: 5, Payload: []byte{0, 0, 0, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4}}},
		{"a short write, as libtlp pads it", "40000001 1b000001 00001000 0000d0",
			Request{Write: true, Requester: 0x1b00, Addr: 0x1000, Len: 1, Payload: []byte{0, 0, 0xd0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := DecodeRequest(unhex(t, tc.wire))
			if d := cmp.Diff(tc.want, got); err != nil || d != "" {
				t.Errorf("decoded with %v:\n%s", err, d)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	for name, wire := range map[string]string{
		"nothing":                 "",
		"half a header":           "00000010 1b0000ff 0000",
		"4DW in 12 bytes":         "20000001 1b00000f 00000000",
		"a completion":            "4a000001 00000004 1b000000 00000000",
		"an I/O read":             "02000001 1b00000f 00001000",
		"last enables of one DW":  "00000001 1b0000ff 00001000",
		"no first enables":        "00000002 1b0000f0 00001000",
		"no last enables":         "00000002 1b00000f 00001000",
		"holes in three DWs":      "00000003 1b0000f5 00001000",
		"holes at the end of six": "00000006 1b0000af 00001000",
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := DecodeRequest(unhex(t, wire)); !errors.Is(err, ErrBadTLP) {
				t.Errorf("decoded %+v, %v", r, err)
			}
		})
	}
}

func TestCompletions(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header string
		want   Completion
		data   int
	}{
		{"64 bytes", "4a000010 00000040 1b000000", Completion{Requester: 0x1b00, ByteCount: 64, Data: true}, 64},
		{"7 bytes from byte 3", "4a000003 00000007 1b000303",
			Completion{Requester: 0x1b00, Tag: 3, ByteCount: 7, Lower: 3, Data: true}, 12},
		{"98 bytes", "4a000019 00000062 1b000300",
			Completion{Requester: 0x1b00, Tag: 3, ByteCount: 98, Data: true}, 100},
		{"first of two", "4a000040 00000200 1a000000", Completion{Requester: 0x1a00, ByteCount: 512, Data: true}, 256},
		{"second of two", "4a000040 00000100 1a000000", Completion{Requester: 0x1a00, ByteCount: 256, Data: true}, 256},
		{"first of a page", "4a000010 00900000 04000000",
			Completion{Completer: 0x90, Requester: 0x0400, ByteCount: 4096, Data: true}, 64},
		{"second of a page", "4a000010 00900fc0 04000040",
			Completion{Completer: 0x90, Requester: 0x0400, ByteCount: 4032, Lower: 0x40, Data: true}, 64},
		{"third of a page", "4a000010 00900f80 04000000",
			Completion{Completer: 0x90, Requester: 0x0400, ByteCount: 3968, Data: true}, 64},
		{"unsupported request", "0a000000 00002040 1b000000",
			Completion{Status: StatusUR, Requester: 0x1b00, ByteCount: 64}, 0},
		{"poisoned, attributes copied", "4a506001 00000004 1b000000",
			Completion{Requester: 0x1b00, ByteCount: 4, Class: 5, Attr: 2, Poisoned: true, Data: true}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := unhex(t, tc.header)
			if got := tc.want.AppendHeaderTo(nil, tc.data); !bytes.Equal(got, header) {
				t.Errorf("encoded as %x, want %x", got, header)
			}
			if tc.want.Data {
				tc.want.Payload = randomRAM(tc.data)
			}
			wire := append(append(header, tc.want.Payload...), 0xde, 0xad) // what trails is passed over
			got, err := DecodeCompletion(wire)
			if d := cmp.Diff(tc.want, got); err != nil || d != "" {
				t.Errorf("decoded with %v:\n%s", err, d)
			}
			if _, err := DecodeCompletion(wire[:len(wire)-3]); tc.data > 0 && !errors.Is(err, ErrBadTLP) {
				t.Errorf("a byte short: %v", err)
			}
		})
	}
}

func TestCompleterCutsAtRCB(t *testing.T) {
	type piece struct{ dws, count, lower int }
	for _, tc := range []struct {
		name              string
		addr, n, mps, rcb int
		want              []piece
	}{
		{"merged up to MPS", 0x3f, 796, 256, 64, []piece{{49, 796, 0x3f}, {64, 603, 0}, {64, 347, 0}, {23, 91, 0}}},
		{"within a boundary", 0x45, 7, 256, 64, []piece{{2, 7, 0x45}}},
		{"cut at a boundary", 0x7f, 2, 128, 128, []piece{{1, 2, 0x7f}, {1, 1, 0}}},
		{"RCB of 128", 0x40, 256, 128, 128, []piece{{16, 256, 0x40}, {32, 192, 0}, {16, 64, 0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []piece
			for cur, end := tc.addr, tc.addr+tc.n; cur < end; {
				dw, stop := cut(cur, end, tc.mps, tc.rcb)
				got = append(got, piece{(stop - dw) / 4, end - cur, cur & 0x7f})
				cur = stop
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(piece{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStampsWrap(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old, new Stamp
	}{
		{"later tick", Stamp{9, 100}, Stamp{3, 101}},
		{"same tick", Stamp{9, 100}, Stamp{10, 100}},
		{"tick wraps", Stamp{9, 1<<32 - 1}, Stamp{9, 5}},
		{"sequence wraps", Stamp{1<<16 - 1, 7}, Stamp{0, 7}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !tc.new.After(tc.old) || tc.old.After(tc.new) || tc.new.After(tc.new) {
				t.Errorf("%+v and %+v are in the wrong order", tc.old, tc.new)
			}
			got, rest, ok := DecodeStamp(append(tc.new.AppendTo(nil), 1))
			if got != tc.new || len(rest) != 1 || !ok {
				t.Errorf("decoded %+v, %x, %v", got, rest, ok)
			}
		})
	}
	if _, _, ok := DecodeStamp(make([]byte, 5)); ok {
		t.Error("decoded a stamp of five bytes")
	}
}

func TestIDs(t *testing.T) {
	for in, want := range map[string]string{
		"1b:00": "1b:00.0", "1b:00.0": "1b:00.0", "1b:fa": "1b:1f.2", "1b:1f.2": "1b:1f.2", "0:8.1": "00:08.1",
		"1b": "", "1b:": "", "1b:20.0": "", "1b:00.8": "", "100:0": "", "1b:00.": "", "x:y.z": "", "": "",
	} {
		id, err := ParseID(in)
		if got := id.String(); want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("%q is %s, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, tc := range reads {
		f.Add(unhex(f, tc.wire))
	}
	f.Add(unhex(f, "40000001 1b000001 00001000 0000d0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		if r.Len < 0 || r.Len > pageSize || len(r.Payload) > len(b) {
			t.Fatalf("decoded %x as %+v", b, r)
		}
		if r.Write || r.Locked {
			return
		}
		again, err := DecodeRequest(r.AppendMRd(nil))
		if d := cmp.Diff(r, again); err != nil || d != "" {
			t.Fatalf("%x changed on the wire, %v:\n%s", b, err, d)
		}
	})
}

func FuzzDecodeCompletion(f *testing.F) {
	f.Add(append(unhex(f, "4a000003 00000007 1b000303"), make([]byte, 12)...))
	f.Add(unhex(f, "0a000000 00002040 1b000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCompletion(b)
		if err != nil {
			return
		}
		wire := append(c.AppendHeaderTo(nil, len(c.Payload)), c.Payload...)
		again, err := DecodeCompletion(wire)
		if d := cmp.Diff(c, again); err != nil || d != "" {
			t.Fatalf("%x changed on the wire, %v:\n%s", b, err, d)
		}
	})
}

// FuzzAccept lets anything answer a read: a outstanding takes bytes only where the completion says
// they belong.
func FuzzAccept(f *testing.F) {
	f.Add(uint64(0x1003), uint16(7), append(unhex(f, "4a000003 00000007 1b000303"), make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, addr uint64, n uint16, tlp []byte) {
		room := pageSize - int(addr%pageSize)
		var fl outstanding
		fl.begin(piece{addr: bridge.PhysAddr(addr), buf: make([]byte, 1+int(n)%room)}, reference{}, 0)
		c, err := DecodeCompletion(tlp)
		if err != nil {
			return
		}
		done, err := fl.accept(&c)
		if err == nil && fl.count == 0 || done != (fl.count == len(fl.buf)) || fl.prefix() > fl.count {
			t.Fatalf("%d bytes at %#x: took %d, first %d, done %v, %v",
				len(fl.buf), addr, fl.count, fl.prefix(), done, err)
		}
		if again, err2 := fl.accept(&c); err == nil && (again || err2 != errDuplicate) {
			t.Fatalf("the same completion was taken twice: %v", err2)
		}
	})
}
