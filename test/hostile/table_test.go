package hostile

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var table = flag.String("table", "", "write the table of attacks into a `file`, between its marks")

// marks are the lines before and after the tables in docs/security.md.
var marks = [2]string{"<!-- attacks: written by make hostile -->\n", "<!-- end of attacks -->\n"}

// TestDocumentHasTable checks that docs/security.md lists the attacks of the tables.
func TestDocumentHasTable(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "security.md")
	if *table != "" {
		path = *table
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), marks[0])
	has, after, ok2 := strings.Cut(rest, marks[1])
	if !ok1 || !ok2 {
		t.Fatalf("%s has no marks", path)
	}
	want := "\n" + Table() + "\n"
	switch {
	case *table != "":
		if err := os.WriteFile(path, []byte(before+marks[0]+want+marks[1]+after), 0o600); err != nil {
			t.Fatal(err)
		}
	case has != want:
		t.Errorf("%s has other attacks than the tables: run make hostile", path)
	}
}

// TestAttacksAreNamed checks that attacks have unique names, and that the tests in the table exist.
func TestAttacksAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Attacks() {
		if a.Name == "" || a.Changes == "" || a.Surface == "" || seen[a.Name] {
			t.Errorf("attack %+v", a)
		}
		seen[a.Name] = true
	}
	sources := map[string]string{}
	for _, c := range OtherAttacks() {
		for _, test := range c.Tests {
			dot := strings.LastIndex(test, ".")
			dir, name := test[:dot], test[dot+1:]
			if sources[dir] == "" {
				sources[dir] = testsOf(t, filepath.Join("..", "..", dir))
			}
			if !regexp.MustCompile(`(?m)^func ` + name + `\(`).MatchString(sources[dir]) {
				t.Errorf("there is no test %s", test)
			}
		}
	}
}

// testsOf returns the text of all tests of a package.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d tests, %v", dir, len(paths), err)
	}
	var all strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
