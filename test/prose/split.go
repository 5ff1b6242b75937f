package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
)

// splitter returns the function that takes the passages out of the file at path, or nil if such files have none.
func splitter(path string) func(path string, src []byte) ([]passage, error) {
	switch filepath.Ext(path) {
	case ".go":
		return splitGo
	case ".c", ".h":
		return byPattern(cProse, strings.NewReplacer("//", "  ", "/*", "  ", "\n *", "\n  ").Replace)
	case ".sh", ".config":
		return byPattern(hashProse, strings.NewReplacer("#", " ").Replace)
	case ".md":
		return splitMarkdown
	}
	switch filepath.Base(path) {
	case "Makefile", "run":
		return byPattern(hashProse, strings.NewReplacer("#", " ").Replace)
	}
	return nil
}

var (
	cProse    = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"`)
	hashProse = regexp.MustCompile(`(?m)(?:^[ \t]*#.*\n?)+|"[^"\n]*"`)
	markers   = regexp.MustCompile(`(?m)^[ \t]*//|^/\*|\*/$`)
)

// byPattern returns a splitter whose passages are the matches of prose; those that start with a quote are strings.
// unmark blanks the comment's own characters.
func byPattern(prose *regexp.Regexp, unmark func(string) string) func(string, []byte) ([]passage, error) {
	return func(_ string, src []byte) ([]passage, error) {
		var passages []passage
		for _, at := range prose.FindAllIndex(src, -1) {
			text := strings.TrimSuffix(string(src[at[0]:at[1]]), "\n")
			line := 1 + strings.Count(string(src[:at[0]]), "\n")
			passages = append(passages, passage{line, unmark(text), text[0] != '"'})
		}
		return passages, nil
	}
}

// splitGo returns the comments, the string literals and the names of the tests of a Go file.
func splitGo(path string, src []byte) ([]passage, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	text := func(n ast.Node) passage {
		from, to := fset.Position(n.Pos()), fset.Position(n.End())
		return passage{line: from.Line, text: string(src[from.Offset:to.Offset])}
	}
	var passages []passage
	for _, group := range file.Comments {
		p := text(group)
		p.text, p.comment = markers.ReplaceAllString(p.text, " "), true
		passages = append(passages, p)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			if strings.HasPrefix(n.Name.Name, "Test") || strings.HasPrefix(n.Name.Name, "Fuzz") {
				passages = append(passages, passage{line: text(n.Name).line, text: separated(n.Name.Name)})
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				passages = append(passages, text(n))
			}
		}
		return true
	})
	return passages, nil
}

var hump = regexp.MustCompile(`[A-Z][a-z]*`)

// separated returns the words of a name like TestEveryThing.
func separated(name string) string { return strings.Join(hump.FindAllString(name, -1), " ") }

var fenced = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```|`[^`\n]*`")

// splitMarkdown returns a Markdown file as one passage, without its code.
func splitMarkdown(_ string, src []byte) ([]passage, error) {
	text := fenced.ReplaceAllStringFunc(string(src), blank)
	return []passage{{line: 1, text: text, comment: true}}, nil
}

// blank returns the line ends of s.
func blank(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) }
