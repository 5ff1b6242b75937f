package guest

import (
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
	if want := "6.12-LLVM=-16-W=1"; got.tree() != want {
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
	if err := lostOptions(wanted, "CONFIG_C=\"c\"\nCONFIG_B=y\nCONFIG_A=y\n"); err != nil {
		t.Error(err)
	}
	err := lostOptions(wanted, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"c\"\n")
	if diff := cmp.Diff("the source or the compiler does not allow CONFIG_B=y", errorText(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
