package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelWithoutDebugPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads kernels")
	}
	for _, series := range []string{"6.1", "6.12"} {
		want, err := Prepare(t.Context(), series, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !exists(want.Vmlinux) {
			t.Errorf("%s: there is no %q", series, want.Vmlinux)
		}
		got, err := PrepareWithoutDebug(t.Context(), series, nil)
		if err != nil {
			t.Fatal(err)
		}
		want.Vmlinux = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", series, diff)
		}
	}
}
