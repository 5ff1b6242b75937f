package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
)

// TestOutputIsPlain has text from outside in errors and in the log: neither commands the terminal.
func TestOutputIsPlain(t *testing.T) {
	path := t.TempDir() + "/evil\x1b]0;x\a\u009b2J\u202e\u2028\x7f\xff"
	for _, args := range [][]string{
		{"info", path}, {"info", "file:" + path}, {"read", "--phys", path, "0", "1"}, {"ps", path, "--json"},
		{"info", "--log-level", "trace", path}, {"info", "--log-level", "trace", "--log-json", path},
		{"dmesg", "--notify", path, path}, {path}, {"info", "--" + path},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), append([]string{"physgdb"}, args...), &stdout, &stderr); status == exitDone {
			t.Errorf("%q succeeded", args)
		}
		printed := stdout.String() + stderr.String()
		if bad := regexp.MustCompile(`[^ -~\n\t]+`).FindString(printed); bad != "" {
			t.Errorf("%q: %q in %q", args, bad, printed)
		}
		if !strings.Contains(printed, "evil") {
			t.Errorf("%q: the text is not in %q", args, printed)
		}
	}
}
