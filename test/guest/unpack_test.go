package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnpackFindsEnd has a package whole, not wanted to its end, cut short, and damaged.
func TestUnpackFindsEnd(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(dir, "tree")
	must(os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755))
	control := "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
	must(os.WriteFile(filepath.Join(tree, "DEBIAN", "control"), []byte(control), 0o644))
	want := bytes.Repeat([]byte("vmlinuz"), 1<<16)
	must(os.WriteFile(filepath.Join(tree, "first"), want, 0o644))
	deb := filepath.Join(dir, "x.deb")
	_, err := run(t.Context(), "", "dpkg-deb", "--build", "-Znone", tree, deb)
	must(err)
	whole, err := os.ReadFile(deb)
	must(err)
	header := bytes.Index(whole, []byte("data.tar"))
	const ofMember = 60 // bytes of the header of a member of an ar archive
	for name, c := range map[string]struct {
		content []byte
		last    bool
		good    bool
	}{
		"whole":                {whole, false, true},
		"no more wanted":       {whole, true, true},
		"cut in the file":      {whole[:len(whole)/2], false, false},
		"cut before all files": {whole[:header+ofMember], false, false},
		"no package":           {[]byte("<html>no such file</html>"), false, false},
		"empty":                {nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			deb, to := filepath.Join(t.TempDir(), "x.deb"), filepath.Join(t.TempDir(), "first")
			must(os.WriteFile(deb, c.content, 0o644))
			err := unpack(t.Context(), deb, func(name string) (string, bool) {
				if strings.HasSuffix(name, "/first") {
					return to, c.last
				}
				return "", false
			})
			if (err == nil) != c.good {
				t.Errorf("error %v, want one: %v", err, !c.good)
			}
			if got, _ := os.ReadFile(to); c.good && !bytes.Equal(got, want) {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
		})
	}
}
