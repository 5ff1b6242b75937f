package host

import (
	"strings"
	"testing"
)

func TestRoots(t *testing.T) {
	r := newRig(t, 4)
	m := r.attach(t, Options{Notify: r.notices(t, greeted, died)})
	cr3, clock := hex(r.CR3), hex(r.clock)
	for _, tc := range []struct{ name, line, want, err string }{
		{"all that are known", "", "kernel " + cr3 + "\npanic " + cr3 + "\nclock " + clock + "\n", ""},
		{"the kernel's", "kernel", "kernel " + cr3 + "\n", ""},
		{"some", "clock panic", "clock " + clock + "\npanic " + cr3 + "\n", ""},
		{"a number", "0x5000", "0x5000 0x5000\n", ""},
		{"one of them is unknown", "cron clock", "clock " + clock + "\n", `cr3: "cron" is neither`},
		{"as JSON", "--json kernel", `{"name":"kernel","cr3":"` + cr3 + `"}` + "\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer, err := commandNamed(t, "cr3").parse(strings.Fields(tc.line))
			must(t, err)
			var got strings.Builder
			if err := answer(ctx, m, &got); tc.err != "" {
				wantError(t, err, tc.err)
			} else {
				must(t, err)
			}
			if got.String() != tc.want {
				t.Errorf("%q, want %q", got.String(), tc.want)
			}
		})
	}
}

// TestRootsWithoutTasks because the words for other roots must go on working.
func TestRootsWithoutTasks(t *testing.T) {
	r := newRig(t, 4)
	m := r.attach(t, Options{Vmlinux: r.path("vmlinux"), Notify: r.notices(t, greeted, died)})
	var got strings.Builder
	wantError(t, m.writeRoots(ctx, &got, nil, false), "cr3: the processes are not known: ")
	if !strings.Contains(got.String(), "clock "+hex(r.clock)) {
		t.Errorf("%q has no clock", got.String())
	}
	for _, word := range []string{"clock", hex(r.clock)} {
		root, err := m.rootNamed(ctx, word)
		must(t, err)
		if uint64(root.CR3) != r.clock {
			t.Errorf("%s: %v", word, root.CR3)
		}
	}
}
