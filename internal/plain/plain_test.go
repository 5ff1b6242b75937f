package plain_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"physgdb/internal/plain"
)

// hostile are strings of every kind that must not be passed on, by what is in them.
var hostile = map[string]string{
	"escape":              "\x1b[2J",
	"bell":                "\a",
	"carriage return":     "a\rb",
	"NUL":                 "a\x00b",
	"DEL":                 "\x7f",
	"C1":                  "\u009b2J",
	"C1 as a byte":        "\x9b2J",
	"next line":           "\u0085",
	"bidi override":       "\u202egpj.exe",
	"bidi isolate":        "\u2066x\u2069",
	"bidi mark":           "\u200f\u061c",
	"line separator":      "\u2028",
	"paragraph separator": "\u2029",
	"zero width":          "a\u200bb\ufeff",
	"soft hyphen":         "\u00ad",
	"invisible letter":    "\u3164\uffa0\u115f",
	"tag":                 "\U000e0041",
	"private":             "\ue000\U0010fffd",
	"unassigned":          "\u0378\U0001fbff",
	"noncharacter":        "\uffff\U0001fffe",
	"no UTF-8":            "\xff\xc0\x80",
	"surrogate":           "\xed\xa0\x80",
	"cut":                 "\xe2\x80",
	"other space":         "\u00a0\u3000",
}

// seen matches what may come out: printable ASCII and, as an independent witness of what is
// printable, letters, marks, numbers, punctuation and symbols of the regexp package.
var seen = regexp.MustCompile(`^[ -~\pL\pM\pN\pP\pS]*$`)

// hidden are invisible characters among those, and controls of any width.
var hidden = regexp.MustCompile(`[\x{115f}\x{1160}\x{3164}\x{ffa0}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x00-\x1f\x7f-\x{9f}]`)

func checkPlain(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || !seen.MatchString(text) || hidden.MatchString(text) {
		t.Errorf("%q is not plain", text)
	}
}

func TestHostileText(t *testing.T) {
	for what, text := range hostile {
		line := plain.Line("a " + text + " z")
		checkPlain(t, line)
		if !strings.Contains(line, `\`) || !strings.HasPrefix(line, "a ") || !strings.HasSuffix(line, " z") {
			t.Errorf("%s: %q", what, line)
		}
	}
	for text, want := range map[string]string{
		"\x1b[2J": `\x1b[2J`, "\xff": `\xff`, "\u009b": `\u009b`, "\u202e": `\u202e`, "\U000e0041": `\U000e0041`,
		" a\tb\nc ": "a b c", "Größe 大 ✓ é": "Größe 大 ✓ é", "": "",
	} {
		if got := plain.Line(text); got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
	}
	if got := plain.Text(" a\tb\n\r"); got != " a\tb\n"+`\x0d` {
		t.Errorf("Text: %q", got)
	}
}

// TestHostileJSON reads back what was written: the same strings, where they were UTF-8.
func TestHostileJSON(t *testing.T) {
	for what, text := range hostile {
		var out bytes.Buffer
		if err := plain.WriteJSON(&out, map[string]string{text: text + "<&>"}); err != nil {
			t.Fatal(err)
		}
		checkPlain(t, strings.TrimSuffix(out.String(), "\n"))
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatalf("%s: %s: %v", what, out.Bytes(), err)
		}
		want := string([]rune(text)) // U+FFFD for each byte that is no UTF-8
		if back[want] != want+"<&>" || !strings.Contains(out.String(), "<&>") {
			t.Errorf("%s: %s", what, out.Bytes())
		}
	}
}

// TestWriterInPieces writes texts byte by byte: characters that are cut must come out as from the
// whole.
func TestWriterInPieces(t *testing.T) {
	for what, text := range hostile {
		text = "Größe 大 " + text + "\n\U0001f600\t" + text
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		for step := 1; step <= 5; step++ {
			var out, encoded bytes.Buffer
			texts, documents := plain.NewWriter(&out), plain.NewJSONWriter(&encoded)
			write(t, texts, text, step)
			write(t, documents, string(quoted), step)
			if out.String() != plain.Text(text) {
				t.Errorf("%s by %d: %q, want %q", what, step, out.String(), plain.Text(text))
			}
			checkPlain(t, encoded.String())
			var back string
			if err := json.Unmarshal(encoded.Bytes(), &back); err != nil || back != string([]rune(text)) {
				t.Errorf("%s by %d: %s, %v", what, step, encoded.Bytes(), err)
			}
		}
	}
}

func write(t *testing.T, w *plain.Writer, text string, step int) {
	t.Helper()
	for start := 0; start < len(text); start += step {
		piece := text[start:min(start+step, len(text))]
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// validName is the rule for names in the words of the issue.
var validName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~-]{0,63}$`)

func TestName(t *testing.T) {
	for _, name := range []string{"6.12.117+deb12-cloud-amd64", "virtio_net", "a", "6.1~rc1", strings.Repeat("x", 64)} {
		if got := plain.Name(name); got != name || !plain.IsName(name) {
			t.Errorf("Name(%q) = %q", name, got)
		}
	}
	names := map[string]string{}
	bad := []string{
		"", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a_b/", "-rf", "~root", ".ssh", "a b", "a;b", "$(x)", "`x`", "a\nb",
		"Größe", strings.Repeat("x", 65), strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20) + "y",
	}
	for _, text := range hostile {
		bad = append(bad, text)
	}
	for _, text := range bad {
		name := plain.Name(text)
		if !validName.MatchString(name) || plain.IsName(text) || !plain.IsName(name) {
			t.Errorf("Name(%.80q) = %q", text, name)
		}
		if other, taken := names[name]; taken {
			t.Errorf("%.80q and %.80q are both %q", text, other, name)
		}
		names[name] = text
	}
}

func FuzzPlain(f *testing.F) {
	for _, text := range hostile {
		f.Add(text, 1)
	}
	f.Fuzz(func(t *testing.T, text string, step int) {
		checkPlain(t, plain.Line(text))
		if name := plain.Name(text); !validName.MatchString(name) {
			t.Errorf("Name(%q) = %q", text, name)
		}
		var out, encoded bytes.Buffer
		write(t, plain.NewWriter(&out), text, max(1, step%8))
		if out.String() != plain.Text(text) {
			t.Errorf("Writer: %q, want %q", out.String(), plain.Text(text))
		}
		if err := plain.WriteJSON(&encoded, text); err != nil {
			t.Fatal(err)
		}
		checkPlain(t, strings.TrimSuffix(encoded.String(), "\n"))
		var back string
		if err := json.Unmarshal(encoded.Bytes(), &back); err != nil || back != string([]rune(text)) {
			t.Errorf("%s: %v", encoded.Bytes(), err)
		}
	})
}
