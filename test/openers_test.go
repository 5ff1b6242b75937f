package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listeners are the files that may open what others can connect or send to. They say so, and refuse
// what is not safe.
var listeners = []string{"cmd/internal/entry/address.go", "cmd/internal/entry/unix.go", "bridge/notify/listen.go"}

// readers are the files that may open what is no regular file: the null device.
var readers = []string{"cmd/internal/entry/stdio.go"}

// TestPrivateFilesAndListeners reads the source of the product: files and directories are
// created for their owner alone, and listeners in one place.
func TestPrivateFilesAndListeners(t *testing.T) {
	calls := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel("..", path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "test" || d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "bridgetest"):
			return fs.SkipDir
		case d.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if opens, wrong := judge(call, name); opens {
				calls++
				if wrong != "" {
					t.Errorf("%v: %s", files.Position(call.Pos()), wrong)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || calls < 10 {
		t.Errorf("%d calls found: %v", calls, err)
	}
}

// judge reports whether a call opens a listener or creates a file, and what is wrong with it.
func judge(call *ast.CallExpr, file string) (opens bool, wrong string) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false, ""
	}
	pkg, ok := f.X.(*ast.Ident)
	if !ok {
		return false, ""
	}
	switch name := pkg.Name + "." + f.Sel.Name; name {
	case "os.Open", "os.ReadFile":
		if slices.Contains(readers, file) {
			return true, ""
		}
		return true, name + " waits for a FIFO; use regular.Open"
	case "os.Create":
		return true, "os.Create lets others read; use host.WritePrivate"
	case "os.WriteFile", "os.OpenFile", "os.Mkdir", "os.MkdirAll":
		mode, ok := call.Args[len(call.Args)-1].(*ast.BasicLit)
		if !ok {
			return true, name + " with a mode that is no number"
		}
		if bits, err := strconv.ParseUint(mode.Value, 0, 32); err != nil || bits&0o077 != 0 {
			return true, name + " with mode " + mode.Value + " is not for the owner alone"
		}
		return true, ""
	default:
		if pkg.Name == "net" && strings.HasPrefix(f.Sel.Name, "Listen") {
			if !slices.Contains(listeners, file) {
				return true, name + " is not in one of the files for listeners"
			}
			return true, ""
		}
		return false, ""
	}
}
