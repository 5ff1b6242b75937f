package rsp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"physgdb/gdbstub/rsp"
)

func TestReaderFindsPackets(t *testing.T) {
	type event struct {
		kind    rsp.Kind
		payload string
	}
	cases := map[string]struct {
		in   string
		want []event
		err  error
	}{
		"a packet":                        {"$qC#b4", []event{{rsp.Packet, "qC"}}, io.EOF},
		"upper-case digits of a checksum": {"$qC#B4", []event{{rsp.Packet, "qC"}}, io.EOF},
		"an empty packet":                 {"$#00", []event{{rsp.Packet, ""}}, io.EOF},
		"acks and an interrupt":           {"+-\x03", []event{{rsp.Ack, ""}, {rsp.Nak, ""}, {rsp.Interrupt, ""}}, io.EOF},
		"junk between packets":            {"xx$#00yy#$#00", []event{{rsp.Packet, ""}, {rsp.Packet, ""}}, io.EOF},
		"0x03 and + are data in a packet": {"$\x03+#2e", []event{{rsp.Packet, "\x03+"}}, io.EOF},
		"a packet started again":          {"$abc$qC#b4", []event{{rsp.Packet, "qC"}}, io.EOF},
		"a wrong checksum":                {"$qC#b5", []event{{rsp.Damaged, ""}}, io.EOF},
		"no checksum":                     {"$qC#zz", []event{{rsp.Damaged, ""}}, io.EOF},
		"the end inside a payload":        {"$qC", nil, io.ErrUnexpectedEOF},
		"the end inside a checksum":       {"$qC#b", nil, io.ErrUnexpectedEOF},
		"the end before a checksum":       {"$qC#", nil, io.ErrUnexpectedEOF},
		"a payload of the longest length": {"$12345678#a4", []event{{rsp.Packet, "12345678"}}, io.EOF},
		"a payload that is too long":      {"$123456789#dd", nil, rsp.ErrTooLong},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := rsp.NewReader(iotest.OneByteReader(strings.NewReader(c.in)), 8)
			for _, want := range c.want {
				kind, payload, err := r.Next()
				if err != nil || kind != want.kind || string(payload) != want.payload {
					t.Errorf("Next = %v, %q, %v; want %v, %q", kind, payload, err, want.kind, want.payload)
				}
			}
			if _, _, err := r.Next(); !errors.Is(err, c.err) {
				t.Errorf("at the end: %v, want %v", err, c.err)
			}
		})
	}
}

func TestWriterRefusesUnescapedFrameBytes(t *testing.T) {
	for _, payload := range []string{"$", "#", "12345678$", "1234567#", "123456789abcdef$"} {
		var out bytes.Buffer
		if err := rsp.NewWriter(&out).WritePacket([]byte(payload)); err == nil || out.Len() > 0 {
			t.Errorf("%q was sent", payload)
		}
	}
}

func TestWriterSendsEachPacketInOneWrite(t *testing.T) {
	var writes countingWriter
	w := rsp.NewWriter(&writes)
	if err := w.Resend(); err != nil || writes != 0 {
		t.Errorf("Resend of nothing: %v, %d writes", err, writes)
	}
	if err := w.WritePacket(make([]byte, rsp.DefaultLimit)); err != nil || writes != 1 {
		t.Errorf("WritePacket: %v, %d writes", err, writes)
	}
	if err := w.Resend(); err != nil || writes != 2 {
		t.Errorf("Resend: %v, %d writes", err, writes)
	}
}

// countingWriter counts the calls of Write.
type countingWriter int

func (c *countingWriter) Write(p []byte) (int, error) {
	*c++
	return len(p), nil
}

func TestConnAcknowledges(t *testing.T) {
	var out bytes.Buffer
	c := rsp.NewConn(struct {
		io.Reader
		io.Writer
	}{strings.NewReader("$qC#00$qC#b4-+\x03"), &out}, 0)
	kind, payload, err := c.Read()
	if err != nil || kind != rsp.Packet || string(payload) != "qC" {
		t.Errorf("Read = %v, %q, %v", kind, payload, err)
	}
	if err := c.Write([]byte("QC1")); err != nil {
		t.Error(err)
	}
	if kind, _, err := c.Read(); err != nil || kind != rsp.Interrupt {
		t.Errorf("Read = %v, %v", kind, err)
	}
	if got := out.String(); got != "-+$QC1#c5$QC1#c5" {
		t.Errorf("wrote %q", got)
	}
}

func TestUnfinishedEscape(t *testing.T) {
	if _, err := rsp.AppendUnescaped(nil, []byte("a}")); !errors.Is(err, rsp.ErrEscape) {
		t.Errorf("error %v", err)
	}
}

func TestHex(t *testing.T) {
	for b := range 256 {
		src := bytes.Repeat([]byte{byte(b)}, 7)
		if got, want := string(rsp.AppendHex([]byte("O"), src)), fmt.Sprintf("O%x", src); got != want {
			t.Errorf("AppendHex = %q, want %q", got, want)
		}
	}
	for digits, want := range map[string]uint64{"0": 0, "fF": 255, "ffffffffffffffff": 1<<64 - 1} {
		if got, ok := rsp.ParseHex([]byte(digits)); !ok || got != want {
			t.Errorf("ParseHex(%q) = %#x, %v", digits, got, ok)
		}
	}
	for _, bad := range []string{"", "g", "-1", "0x1", "10000000000000000"} {
		if _, ok := rsp.ParseHex([]byte(bad)); ok {
			t.Errorf("ParseHex(%q) is taken", bad)
		}
	}
}

// FuzzRoundTrip: whatever bytes are escaped or put in hex, framed and read come back unchanged.
func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{"", "#$}*", "\x00\xff\x03", "1234567#12345678$", strings.Repeat("}", 100)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var stream bytes.Buffer
		w := rsp.NewWriter(&stream)
		escaped, digits := rsp.AppendEscaped(nil, data), rsp.AppendHex(nil, data)
		if err := errors.Join(w.WritePacket(escaped), w.WritePacket(digits)); err != nil {
			t.Fatal(err)
		}
		r := rsp.NewReader(&stream, 2*len(data)+1)
		for _, decode := range []func(dst, src []byte) ([]byte, error){rsp.AppendUnescaped, rsp.AppendUnhex} {
			kind, payload, err := r.Next()
			if err != nil || kind != rsp.Packet {
				t.Fatalf("Next = %v, %v", kind, err)
			}
			if got, err := decode(nil, payload); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("got %q, %v, want %q", got, err, data)
			}
		}
	})
}

// FuzzReader: no stream makes a Reader panic, go on for ever or hold more than its limit.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"+$qSupported:xmlRegisters=i386#00", "$m0,8#2a\x03-$$#00", "$#", "$a}", "$123456789012345678",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := rsp.NewReader(bytes.NewReader(stream), 16)
		for range len(stream) + 1 {
			_, payload, err := r.Next()
			if len(payload) > 16 {
				t.Fatalf("a payload of %d bytes", len(payload))
			}
			if err != nil {
				return
			}
		}
		t.Fatal("more events than bytes")
	})
}

func BenchmarkAppendHex(b *testing.B) {
	src, dst := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		dst = rsp.AppendHex(dst[:0], src)
	}
}

func BenchmarkAppendEscaped(b *testing.B) {
	src, dst := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	for i := range src {
		src[i] = byte(i)
	}
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		dst = rsp.AppendEscaped(dst[:0], src)
	}
}

func BenchmarkWritePacket(b *testing.B) {
	w, payload := rsp.NewWriter(io.Discard), make([]byte, 128<<10)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WritePacket(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadPacket(b *testing.B) {
	var packet bytes.Buffer
	if err := rsp.NewWriter(&packet).WritePacket(make([]byte, 64<<10)); err != nil {
		b.Fatal(err)
	}
	source := bytes.NewReader(packet.Bytes())
	r := rsp.NewReader(source, 0)
	b.SetBytes(int64(packet.Len()))
	b.ReportAllocs()
	for b.Loop() {
		source.Reset(packet.Bytes())
		if _, _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheMemoryPathAllocatesNothing(t *testing.T) {
	src, dst := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	w := rsp.NewWriter(io.Discard)
	if n := testing.AllocsPerRun(10, func() {
		dst = rsp.AppendHex(dst[:0], src)
		if err := w.WritePacket(dst); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
