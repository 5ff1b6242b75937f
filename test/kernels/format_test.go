package kernels

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSaveKeepsOtherRows saves rows of several runs.
func TestSaveKeepsOtherRows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kernels.md")
	old, other := spec{"5.10", "cloud", false, "sysrq"}, spec{"7.0", "cloud", true, "sysrq"}
	for _, rows := range [][]row{
		{{spec: other, release: "7.0.1"}, {spec: old, release: "5.10.0-1"}},
		{{spec: old, release: "5.10.0-2", cells: []string{cell(nil), cell(errors.New("a|b\nc"))}}},
	} {
		if err := save(file, rows); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(text), strings.Repeat("---|", len(columns()))+"\n")
	const want = `| 5.10 | cloud | 4-level | sysrq | 5.10.0-2 | pass | **FAIL** a/b | 0 s |
| 7.0 | cloud | 5-level, PTI | sysrq | 7.0.1 | 0 s |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLayout parses gdb 13's output for a struct.
func TestLayout(t *testing.T) {
	const ptype = `/* offset      |    size */  type = struct x {
/*      0      |      24 */    struct thread_info {
/*      0      |       8 */        unsigned long flags;

                                   /* total size:   24 bytes */
                               } thread_info;
/*     24: 0   |       4 */    unsigned int on_rq : 1;
/* XXX  7-bit hole       */
/*     32      |       8 */    int (*fn)(int);
/*     40      |      16 */    char comm[16];

                               /* total size:   56 bytes */
                             }
`
	want := strings.Split("0 8 flags\nsize 24\n24:0 4 on_rq\n32 8 fn\n40 16 comm\nsize 56", "\n")
	if diff := cmp.Diff(want, layout(ptype)); diff != "" {
		t.Error(diff)
	}
}

func TestMatrix(t *testing.T) {
	seen := map[spec]bool{}
	for _, s := range matrix() {
		if seen[s] {
			t.Errorf("%s occurs twice", s.name())
		}
		seen[s] = true
	}
	if len(seen) != 48 {
		t.Errorf("%d machines, want 10 cloud kernels and 8 others in two paging modes, and 12 other deaths", len(seen))
	}
}
