package progress

import (
	"bytes"
	"os"
	"testing"
)

func TestProgressIsForTerminals(t *testing.T) {
	path := t.TempDir() + "/err"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	for _, p := range []*Progress{New(&b, "x"), New(f, "x"), New(nil, "x")} {
		p.next = p.next.Add(-2 * firstUpdate)
		p.Show(1, 2)
		p.End()
	}
	if written, _ := os.ReadFile(path); b.Len() > 0 || len(written) > 0 {
		t.Errorf("%q, %q", b.String(), written)
	}
}

func TestProgressIsShownNowAndThen(t *testing.T) {
	var b bytes.Buffer
	p := New(nil, "looking")
	p.w = &b
	p.Show(1<<20, 1<<30) // too early
	p.End()
	if b.Len() > 0 {
		t.Errorf("%q after no time", b.String())
	}
	p.next = p.next.Add(-2 * firstUpdate)
	p.Show(2<<20, 1<<30)
	p.Show(3<<20, 1<<30) // too soon after that
	p.End()
	if want := "\r\x1b[Kphysgdb: looking: 2 MiB of 1 GiB\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
