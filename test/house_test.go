// Package test checks rules that hold for the whole repository: which package may import which, how
// long functions and packages are, and that the documents agree with the code.
package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "physgdb/"

// Packages without an idea of physgdb, which every other may import.
var helpers = []string{"internal/plain", "internal/regular"}

// What the packages for the kernel's subsystems, and the formats of symbol files, may import.
var (
	formats   = []string{"symbols"}
	subsystem = []string{"symbols/linux", "symbols/linux/kmem", "symbols", "mmu", "bridge"}
	kernel    = []string{
		"symbols/linux/kmem", "symbols", "symbols/kallsyms", "symbols/btf", "symbols/orc", "symbols/elffile", "mmu",
		"bridge",
	}
	machine = slices.Concat(subsystem, []string{
		"bridge/dump", "bridge/nettlp", "bridge/notify", "symbols/elffile", "symbols/dwarf", "symbols/kallsyms", "symbols/btf", "symbols/orc",
		"symbols/debuginfo", "symbols/elfsynth", "symbols/linux/module", "symbols/linux/klog", "symbols/linux/vfs",
		"symbols/linux/synth", "symbols/linux/find", "symbols/linux/iomem",
		"symbols/linux/unwind", "symbols/linux/userspace", "cmd/internal/kept",
	})
)

// allowed lists which of our packages each package may import, besides helpers. Tests may import
// more.
var allowed = map[string][]string{
	"bridge":                   {},
	"bridge/bridgetest":        {"bridge"},
	"bridge/dump":              {"bridge"},
	"bridge/nettlp":            {"bridge"},
	"bridge/notify":            {"bridge"},
	"mmu":                      {"bridge"},
	"symbols":                  {},
	"symbols/elffile":          append([]string{"symbols/btf", "symbols/dwarf", "symbols/orc"}, formats...),
	"symbols/internal/symtest": {},
	"symbols/kallsyms":         formats,
	"symbols/btf":              formats,
	"symbols/dwarf":            formats,
	"symbols/orc":              formats,
	"symbols/debuginfo":        {"symbols", "symbols/elffile"},
	"symbols/elfsynth":         {"symbols", "symbols/elffile", "symbols/kallsyms", "symbols/btf", "symbols/dwarf", "symbols/orc"},
	"symbols/linux/kmem":       {"symbols", "mmu", "bridge"},
	"symbols/linux":            kernel,
	"symbols/linux/module":     append([]string{"symbols/elffile", "symbols/orc"}, subsystem...),
	"symbols/linux/klog":       subsystem,
	"symbols/linux/synth": append([]string{
		"symbols/btf", "symbols/orc", "symbols/elfsynth", "symbols/linux/module", "symbols/linux/unwind",
	}, subsystem...),
	"symbols/linux/find":      subsystem,
	"symbols/linux/iomem":     subsystem,
	"symbols/linux/unwind":    append([]string{"symbols/orc"}, subsystem...),
	"symbols/linux/userspace": append([]string{"symbols/linux/unwind"}, subsystem...),
	"symbols/linux/vfs":       subsystem,
	"gdbstub":                 {"gdbstub/rsp", "gdbstub/tdesc", "gdbstub/internal/accept", "gdbstub/internal/worker", "gdbstub/internal/crc"},
	"gdbstub/internal/accept": {},
	"gdbstub/internal/crc":    {},
	"gdbstub/internal/worker": {},
	"gdbstub/rsp":             {},
	"gdbstub/tdesc":           {"gdbstub/rsp"},
	"cmd/internal/machine":    append([]string{"cmd/internal/progress", "cmd/internal/size"}, machine...),
	"cmd/internal/query":      append([]string{"cmd/internal/machine", "cmd/internal/progress"}, machine...),
	"cmd/internal/render":     append([]string{"cmd/internal/machine", "cmd/internal/query", "cmd/internal/size"}, machine...),
	"cmd/internal/command": {
		"cmd/internal/machine", "cmd/internal/query", "cmd/internal/render", "bridge/nettlp", "bridge/notify", "mmu",
	},
	"cmd/internal/target": append([]string{
		"gdbstub", "gdbstub/tdesc", "cmd/internal/machine", "cmd/internal/query", "cmd/internal/render", "cmd/internal/command", "cmd/internal/progress",
		"cmd/internal/size",
	}, machine...),
	"cmd/internal/gen":      {"cmd/internal/command"},
	"cmd/internal/progress": {"cmd/internal/size"},
	"cmd/internal/size":     {},
	"cmd/internal/kept":     {},
	"cmd/internal/entry":    {},
	"cmd/internal/debugger": {},
	"cmd/physgdb": {
		"cmd/internal/machine", "cmd/internal/target", "cmd/internal/query", "cmd/internal/render", "cmd/internal/command",
		"cmd/internal/size", "cmd/internal/entry", "cmd/internal/debugger", "bridge/nettlp", "bridge/notify", "gdbstub",
	},
	"internal/plain":   {},
	"internal/regular": {},
}

// TestImports checks that packages import only what allowed lists.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		if strings.HasPrefix(pkg, "test") {
			continue
		}
		may, known := allowed[pkg]
		if !known {
			t.Errorf("package %s is not in the table of allowed imports", pkg)
		}
		for _, imported := range fields[1:] {
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(may, ours) && !slices.Contains(helpers, ours) {
				t.Errorf("%s imports %s", pkg, ours)
			}
		}
	}
}

// Bounds for the code without its tests. Lines of packages are those with code.
const (
	maxMedianLines  = 10 // of functions
	maxP99Lines     = 45
	maxPackageLines = 3500
)

// TestSizes checks the lengths of functions and packages outside of test/.
func TestSizes(t *testing.T) {
	var functions []int
	packages := map[string]int{}
	err := eachSource("..", func(path string, src []byte) error {
		packages[filepath.Dir(path)] += codeLines(src)
		lengths, err := functionLines(path, src)
		functions = append(functions, lengths...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(functions)
	median, p99 := functions[len(functions)/2], functions[len(functions)*99/100]
	t.Logf("%d functions: median %d lines, p99 %d lines, longest %d lines", len(functions), median, p99, functions[len(functions)-1])
	if median > maxMedianLines || p99 > maxP99Lines {
		t.Errorf("functions have a median of %d lines and a p99 of %d, want at most %d and %d", median, p99, maxMedianLines, maxP99Lines)
	}
	for dir, lines := range packages {
		if lines > maxPackageLines {
			t.Errorf("%s has %d lines, want at most %d", dir, lines, maxPackageLines)
		}
	}
}

// eachSource calls f for each Go file under root that is not a test.
func eachSource(root string, f func(path string, src []byte) error) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"test", "testdata", ".git", "bin"}, entry.Name()):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return f(path, src)
	})
}

// codeLines returns the number of lines that are neither blank nor a comment.
func codeLines(src []byte) int {
	n := 0
	for line := range strings.Lines(string(src)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

// functionLines returns the number of lines of each function of a file after its first.
func functionLines(path string, src []byte) ([]int, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, src, 0)
	if err != nil {
		return nil, err
	}
	var lengths []int
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			lengths = append(lengths, files.Position(f.End()).Line-files.Position(f.Pos()).Line)
		}
	}
	return lengths, nil
}
