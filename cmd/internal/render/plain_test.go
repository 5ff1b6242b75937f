package host

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"physgdb/symbols/linux/klog"

	"physgdb/symbols/linux"
)

// evil is what an attacker may have put wherever text is: controls of every kind, a path, and a command.
const evil = "\x1b]0;x\a\u009b2J\u202e\u2028\x7f\xff/../$(reboot)"

// TestNamesFromMemoryAreFit has a release and a module name that would command a terminal, leave a directory, or run a program.
func TestNamesFromMemoryAreFit(t *testing.T) {
	fit := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~-]*$`)
	r := newRig(t, 4)
	copy(r.RAM[r.TextPhys+8<<21:], "Linux version 6.1-"+evil+" (x) #1 SMP\n\x00")
	must(t, r.Kernel.WriteFile(r.path("ram")))
	m := r.attachWithVmlinux(t)
	if release := m.release(ctx); !strings.Contains(release, "\x1b") {
		t.Fatalf("the release is %q: the test needs an escape in it", release)
	}
	main, err := connect(t, m).ExecutableFile(ctx)
	must(t, err)
	library := madeLibrary(&linux.Module{Name: evil}, moduleFile(evil)).Name
	for _, name := range []string{
		m.vmlinuxName(ctx), strings.TrimPrefix(main, "/"), moduleFile(evil), strings.TrimPrefix(library, madeDir),
	} {
		if !fit.MatchString(name) || len(name) > len("vmlinux-")+64 {
			t.Errorf("%q is no name", name)
		}
	}
	if name := moduleFile("virtio_net"); name != "virtio_net.ko" {
		t.Errorf("an honest name is %q", name)
	}
}

// TestRenderersOfEvilText prints evil text by renderers that need no kernel. It is plain before the filter that all output
// passes, and takes one line.
func TestRenderersOfEvilText(t *testing.T) {
	text := evil + "\nforged: line"
	r := root{Name: text, Comm: text}
	renderers := map[string]func(*bytes.Buffer) error{
		"cr3":        func(b *bytes.Buffer) error { return r.write(b, false) },
		"cr3 --json": func(b *bytes.Buffer) error { return r.write(b, true) },
		"modules":    func(b *bytes.Buffer) error { return (&moduleLine{Name: text, UsedBy: []string{text}}).write(b) },
		"ps":         func(b *bytes.Buffer) error { return (&psLine{Comm: text}).write(b, false) },
		"ps --json":  func(b *bytes.Buffer) error { return (&psLine{Comm: text}).write(b, true) },
		"died of": func(b *bytes.Buffer) error {
			b.WriteString(epitaph(text, &linux.Death{Cause: text}) + "\n")
			return nil
		},
		"task":      func(b *bytes.Buffer) error { b.WriteString(taskWords(text, nil) + "\n"); return nil },
		"/proc/PID": func(b *bytes.Buffer) error { b.WriteString(unknown(errorText(text)) + "\n"); return nil },
		"log message": func(b *bytes.Buffer) error {
			b.WriteString(klog.Format{}.Format(&klog.Record{Text: evil}))
			return nil
		},
	}
	for what, render := range renderers {
		var out bytes.Buffer
		must(t, render(&out))
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

type errorText string

func (e errorText) Error() string { return string(e) }
