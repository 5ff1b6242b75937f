package render

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"physgdb/cmd/internal/query"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/klog"
	"physgdb/test/rig"
)

// evil is what an attacker may have put wherever text is: controls of every kind, a path, and a
// command.
const evil = "\x1b]0;x\a\u009b2J\u202e\u2028\x7f\xff/../$(reboot)"

// TestRenderersOfEvilText prints evil text by renderers that need no kernel. It is plain before the
// filter that all output passes, and takes one line.
func TestRenderersOfEvilText(t *testing.T) {
	text := evil + "\nforged: line"
	renderers := map[string]func(*bytes.Buffer) error{
		"cr3":        func(b *bytes.Buffer) error { return Roots.Write(b, []query.Root{{Name: text, Comm: text}}, false) },
		"cr3 --json": func(b *bytes.Buffer) error { return Roots.Write(b, []query.Root{{Name: text, Comm: text}}, true) },
		"modules":    func(b *bytes.Buffer) error { return Modules.Row(b, &query.Module{Name: text, UsedBy: []string{text}}) },
		"ps":         func(b *bytes.Buffer) error { return Tasks.Row(b, &query.Task{Comm: text}) },
		"ps --json":  func(b *bytes.Buffer) error { return Tasks.Write(b, []query.Task{{Comm: text}}, true) },
		"died of": func(b *bytes.Buffer) error {
			b.WriteString(query.PanicText(text, &linux.Death{Cause: text}) + "\n")
			return nil
		},
		"task":      func(b *bytes.Buffer) error { b.WriteString(query.TaskText(text, nil) + "\n"); return nil },
		"/proc/PID": func(b *bytes.Buffer) error { b.WriteString(unknown(text) + "\n"); return nil },
		"log message": func(b *bytes.Buffer) error {
			b.WriteString(klog.Format{}.Format(&klog.Record{Text: evil}))
			return nil
		},
	}
	for what, render := range renderers {
		var out bytes.Buffer
		rig.Must(t, render(&out))
		printed := out.String()
		if strings.Count(printed, "\n") != 1 || !strings.HasSuffix(printed, "\n") {
			t.Errorf("%s: not one line: %q", what, printed)
		}
		if bad := regexp.MustCompile(`[^ -~\n]`).FindString(printed); bad != "" {
			t.Errorf("%s: %q in %q", what, bad, printed)
		}
		if !strings.Contains(printed, "reboot") {
			t.Errorf("%s: prints nothing of the text: %q", what, printed)
		}
	}
}
