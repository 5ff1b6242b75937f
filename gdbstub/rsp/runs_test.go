package rsp_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"physgdb/gdbstub/rsp"
)

// expand undoes run-length encoding as gdb does (read_frame, gdb/remote.c): the count is the
// character less 29, and those that would end or begin something are not allowed.
func expand(t testing.TB, payload []byte) []byte {
	var out []byte
	for i := 0; i < len(payload); i++ {
		if payload[i] != '*' {
			out = append(out, payload[i])
			continue
		}
		i++
		count := payload[i]
		if count < ' ' || count > '~' || bytes.IndexByte([]byte("#$+-"), count) >= 0 || i < 2 {
			t.Fatalf("a count of %q in %.100q", count, payload)
		}
		out = append(out, bytes.Repeat(out[len(out)-1:], int(count)-29)...)
	}
	return out
}

func TestRunsOfEveryLength(t *testing.T) {
	for n := range 400 {
		text := "a" + strings.Repeat("0", n) + "b"
		encoded := rsp.AppendRuns(nil, []byte(text))
		if got := string(expand(t, encoded)); got != text {
			t.Fatalf("%d zeros come back as %q", n, got)
		}
		if len(encoded) > len(text) {
			t.Errorf("%d zeros are %q", n, encoded)
		}
		data := bytes.Repeat([]byte{0xff}, n)
		if got := string(expand(t, rsp.AppendHexRuns(nil, data))); got != hex.EncodeToString(data) {
			t.Fatalf("%d bytes come back as %q", n, got)
		}
	}
}

// FuzzRuns: whatever is encoded comes back, is no longer, and can be framed.
func FuzzRuns(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(append(make([]byte, 100), strings.Repeat("\x11\xff", 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		digits := []byte(hex.EncodeToString(data))
		for _, encoded := range [][]byte{rsp.AppendHexRuns(nil, data), rsp.AppendRuns(nil, digits)} {
			if got := expand(t, encoded); !bytes.Equal(got, digits) || len(encoded) > len(digits) {
				t.Fatalf("%x comes back as %s", data, got)
			}
			if err := rsp.NewWriter(&bytes.Buffer{}).WritePacket(encoded); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendHexRuns(b *testing.B) {
	mixed := make([]byte, 64<<10)
	for i := range mixed {
		mixed[i] = byte(i * i >> 3)
	}
	for name, src := range map[string][]byte{"what=zeros": make([]byte, 64<<10), "what=mixed": mixed} {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, 128<<10)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				dst = rsp.AppendHexRuns(dst[:0], src)
			}
		})
	}
}
