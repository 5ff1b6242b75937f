package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCustom(t *testing.T) {
	got, err := parseCustom("x", "# source: 6.12\n# make: LLVM=-16 W=1\n# about: odd\nCONFIG_A=y\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "x" || got.Series != "6.12" || got.About != "odd" || !slices.Equal(got.Make, []string{"LLVM=-16", "W=1"}) {
		t.Errorf("got %+v", got)
	}
	if want := "6.12-LLVM-16-W1"; got.tree() != want {
		t.Errorf("tree %q, want %q", got.tree(), want)
	}
	for _, text := range []string{"", "# source: 6.12\n", "# about: odd\n"} {
		if got, err := parseCustom("x", text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// TestCustomKernelsShareTrees checks that kernels of one build tree are adjacent: otherwise every
// build would start from scratch.
func TestCustomKernelsShareTrees(t *testing.T) {
	all, err := Customs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var trees []string
	for _, c := range all {
		trees = append(trees, c.tree())
	}
	if len(all) < 2 || len(slices.Compact(slices.Clone(trees))) != len(slices.Compact(slices.Sorted(slices.Values(trees)))) {
		t.Errorf("trees in the order of the builds: %s", strings.Join(trees, ", "))
	}
}

func TestLostOptions(t *testing.T) {
	const wanted = "# about\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"c\"\n"
	if lost := lostOptions(wanted, "CONFIG_C=\"c\"\nCONFIG_B=y\nCONFIG_A=y\n"); len(lost) != 0 {
		t.Error(lost)
	}
	lost := lostOptions(wanted, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"c\"\n")
	if !slices.Equal(lost, []string{"CONFIG_B=y"}) {
		t.Error(lost)
	}
}

func TestDefinedOptions(t *testing.T) {
	dir := t.TempDir()
	text := "config A\n\tbool\n\nmenuconfig B_2\n\tdepends on C\nif D\n\tconfig E\nendif\n"
	for name, text := range map[string]string{"Kconfig.debug": text, "Makefile": "config F\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := definedOptions(dir)
	want := map[string]bool{"CONFIG_A": true, "CONFIG_B_2": true, "CONFIG_E": true}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}
