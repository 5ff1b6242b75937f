package guest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// jsonCase is a text that the module's json.h writes into a buffer of a given size.
type jsonCase struct {
	size int
	text string
}

// large is the size of a buffer that is sufficient for every text of these tests.
const large = 4096

// TestModuleWritesJSON runs the code of physgdb.ko for notices as a program.
func TestModuleWritesJSON(t *testing.T) {
	cases := []jsonCase{
		{large, ""}, {large, `"quoted" \ back`}, {large, "a\nb\tc\x01\x1f\x7f"}, {large, "\x00cut at the NUL"},
		{large, "Grüße, 世界, 🙂"}, {large, "\xff\xfe"}, {large, "\xc3"}, {large, "\xc0\xaf"}, {large, "\xe0\x80\xaf"},
		{large, "\xed\xa0\x80"}, {large, "\xf4\x90\x80\x80"}, {large, "\xf0\x8f\xbf\xbf"}, {large, "\xe4\xb8"},
		{large, "\xf0\x9f\x99"}, {large, "\xf0\x9f\x99\"\\"}, {large, "\ufffd\uffff\U0010ffff"},
		{large, "\u0080\u009b\u202e\u2028\ufeff\U00010000\U000e0041"},
	}
	for size := 4; size < 120; size++ {
		cases = append(cases, jsonCase{size, strings.Repeat(`"`, 60)}, jsonCase{size, strings.Repeat("世\x01🙂", 20)})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		cases = append(cases, jsonCase{4 + random.IntN(200), randomText(random)}, jsonCase{large, randomText(random)})
	}
	lines := writeJSON(t, cases)
	for i, c := range cases {
		if err := checkJSON(c, lines[i]); err != nil {
			t.Errorf("%q in %d bytes: %v", c.text, c.size, err)
		}
	}
}

// randomText prefers bytes with a meaning in JSON or UTF-8.
func randomText(random *rand.Rand) string {
	pieces := []string{
		`"`, `\`, "\n", "a", "é", "世", "🙂",
		"\x80", "\xbf", "\xc2", "\xe0", "\xed", "\xa0", "\xf0", "\xf4", "\x90",
	}
	var text strings.Builder
	for range random.IntN(40) {
		text.WriteString(pieces[random.IntN(len(pieces))])
	}
	return text.String()
}

// checkJSON checks a line. If it does not fit, the text is truncated first.
func checkJSON(c jsonCase, line string) error {
	if len(line) >= c.size || !strings.HasSuffix(line, "}\n") {
		return fmt.Errorf("line %q is too long or has no end", line)
	}
	var got struct {
		Dec *int
		Hex *string
		Str *string
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		return fmt.Errorf("line %q: %w", line, err)
	}
	if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("line %q is not printable ASCII", line)
	}
	text := expected(c.text)
	switch {
	case got.Str != nil && !strings.HasPrefix(text, *got.Str):
		return fmt.Errorf("text %q is not a prefix of %q", *got.Str, text)
	case c.size < large:
		return nil
	case got.Dec == nil || *got.Dec != len(c.text):
		return fmt.Errorf("line %q: want dec %d", line, len(c.text))
	case got.Hex == nil || *got.Hex != fmt.Sprintf("%#x", uint64(math.MaxUint64-uint64(len(c.text)))):
		return fmt.Errorf("line %q: hex is wrong", line)
	case got.Str == nil || *got.Str != text:
		return fmt.Errorf("line %q: want text %q", line, text)
	}
	return nil
}

// expected returns a text up to its first NUL, with each byte that is not UTF-8 as the character of
// that number.
func expected(text string) string {
	text, _, _ = strings.Cut(text, "\x00")
	var out strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && n == 1 {
			r = rune(text[0])
		}
		out.WriteRune(r)
		text = text[n:]
	}
	return out.String()
}

// writeJSON compiles testdata/json.c and runs it on all cases.
func writeJSON(t *testing.T, cases []jsonCase) []string {
	t.Helper()
	root, err := repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "json")
	_, err = run(t.Context(), "", "gcc-12", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
		"-I", filepath.Join(root, "bridge", "notify", "module"), "-o", program, filepath.Join("testdata", "json.c"))
	if err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	for _, c := range cases {
		_ = binary.Write(&in, binary.LittleEndian, []uint32{uint32(c.size), uint32(len(c.text))})
		in.WriteString(c.text)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stdin = &in
	out, err := output(t.Context(), cmd, "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rest := []byte(out); len(rest) > 0; {
		n := 4 + binary.LittleEndian.Uint32(rest)
		lines = append(lines, string(rest[4:n]))
		rest = rest[n:]
	}
	if len(lines) != len(cases) {
		t.Fatalf("%d lines for %d cases", len(lines), len(cases))
	}
	return lines
}
