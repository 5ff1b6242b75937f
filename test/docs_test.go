package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// comments are those of JSON with comments, as VS Code reads it, on lines of their own.
var comments = regexp.MustCompile(`(?m)^\s*//.*$`)

// configuration reads a configuration of VS Code's debugger.
func configuration(t *testing.T, text string) map[string]any {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

// TestVSCodeSampleMatchesDocument compares docs/vscode/launch.json with the configurations
// in docs/vscode.md.
func TestVSCodeSampleMatchesDocument(t *testing.T) {
	sample, err := os.ReadFile("../docs/vscode/launch.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/vscode.md")
	if err != nil {
		t.Fatal(err)
	}
	launch := configuration(t, comments.ReplaceAllString(string(sample), ""))
	if launch["version"] != "0.2.0" { // the only one that VS Code knows
		t.Errorf("version %v", launch["version"])
	}
	var shown []any
	for _, block := range regexp.MustCompile("(?s)```jsonc\n(.*?)```").FindAllStringSubmatch(string(document), -1) {
		shown = append(shown, configuration(t, block[1]))
	}
	if diff := cmp.Diff(launch["configurations"], any(shown)); diff != "" {
		t.Errorf("(-launch.json +vscode.md):\n%s", diff)
	}
	if len(shown) < 6 {
		t.Errorf("only %d configurations", len(shown))
	}
	for _, c := range shown {
		kind, _ := c.(map[string]any)["type"].(string)
		if kind == "" || !strings.Contains(string(document), "| `"+kind+"` |") {
			t.Errorf("type %q is not in the document's table", kind)
		}
	}
}

// runs matches the pattern and the package of a go test in the Makefile.
var runs = regexp.MustCompile(`go test .*-run '?([A-Za-z|]+)(?:\$\$)?'?.* \./([a-z0-9/]+)`)

// TestMakefileRunsTests checks that each test that the Makefile selects by name exists.
func TestMakefileRunsTests(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	found := runs.FindAllStringSubmatch(string(makefile), -1)
	if len(found) < 8 {
		t.Errorf("only %d commands found", len(found))
	}
	for _, run := range found {
		files, err := filepath.Glob(filepath.Join("..", run[2], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var tests strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(text)
		}
		for pattern := range strings.SplitSeq(run[1], "|") {
			if !strings.Contains(tests.String(), "\nfunc "+pattern+"(") {
				t.Errorf("make runs %s of %s, which does not exist", pattern, run[2])
			}
		}
	}
}
