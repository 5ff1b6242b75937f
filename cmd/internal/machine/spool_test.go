package machine

import (
	"errors"
	"io"
	"strings"
	"testing"

	"physgdb/test/rig"
)

func TestSpoolMakesEachFileOnce(t *testing.T) {
	s := newSpool()
	made := 0
	make := func(content string) func() (File, error) {
		return func() (File, error) {
			made++
			return strings.NewReader(content), nil
		}
	}
	for _, want := range []string{"one", "a longer one", "one"} {
		f, err := s.open(t.Context(), want, make(want))
		rig.Must(t, err)
		p, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || string(p) != want {
			t.Errorf("%q, %v; want %q", p, err, want)
		}
	}
	if made != 2 {
		t.Errorf("%d files were made of 2", made)
	}
	torn := errors.New("torn")
	if _, err := s.open(t.Context(), "torn", func() (File, error) { return nil, torn }); !errors.Is(err, torn) {
		t.Errorf("a file that cannot be made: %v", err)
	}
	rig.Must(t, s.close())
}
