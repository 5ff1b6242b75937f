package command

import (
	"fmt"
	"strings"
	"testing"

	"physgdb/cmd/internal/query"
	"physgdb/test/rig"
)

func TestFind(t *testing.T) {
	r := rig.New(t, 4)
	m := attachWithVmlinux(t, r)
	banner, _ := m.Kernel.Addr("linux_banner")
	for line, want := range map[string]string{
		`_text, +0x2000000, "Linux version 6."`:                  fmt.Sprintf("%#x linux_banner", banner),
		`_text,+0x2000000,"Linux" ' ' "version"`:                 fmt.Sprintf("%#x linux_banner", banner),
		fmt.Sprintf("/w %#x, +7, 0x756e694c 0x65762078", banner): "found: 0,",
		fmt.Sprintf("/w %#x, +8, 0x756e694c 0x65762078", banner): "found: 1,",
		fmt.Sprintf("/h1 %#x, +8, 0x694c", banner):               "found: 1, in",
		fmt.Sprintf("%#x %#x 'L'", banner, banner):               "found: 1,",
		`_text, +0x2000000, "no such  text"`:                     "found: 0,",
		`/1 _text, +0x2000000, "Linux"`:                          "there may be more: /10 shows as many",
		`--json _text, +0x2000000, "Linux version 6."`:           fmt.Sprintf(`{"addr":"%#x","symbol":"linux_banner`, banner),
	} {
		out, err := run(t, m, query.SplitLine("find "+line)...)
		rig.Must(t, err)
		if !strings.Contains(out, want) {
			t.Errorf("find %s prints\n%s, want %q", line, out, want)
		}
	}
}

func TestFindMakesSenseOfItsWords(t *testing.T) {
	for line, want := range map[string]string{
		"": "want START", "0x1000 +16": "want START", "/x 0 +1 1": "/x: want a size", "/ 0 +1 1": "/: want a size",
		"/bh 0 +1 1": "/bh: want", "/0 0 +1 1": "/0: want", "0 +1 \"": "quote is missing", "0 +1 \"\"": "want \"text\"",
		"0 +1 'ab'": "want one character", "0 +1 x": "want a number", "0 +1 &": "a symbol is missing",
		"/b 0 +1 256": "does not fit 1 bytes", "/1b2 0 +1 1": "/1b2: want",
	} {
		_, err := commandNamed(t, "find").Parse(query.SplitLine(line))
		rig.WantError(t, err, want)
	}
	m := attachWithVmlinux(t, rig.New(t, 4))
	for line, want := range map[string]string{
		"0x2000 0x1000 1": "is before the start", "0x1000 +0 1": "want a length", "nowhere +1 1": "nor a symbol",
		"0 nowhere 1": "nor a symbol", "0 +1 &nowhere": "nor a symbol",
	} {
		_, err := run(t, m, query.SplitLine("find "+line)...)
		rig.WantError(t, err, want)
	}
}
