package guest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelsAreSortedNewestFirst(t *testing.T) {
	names := strings.Fields(`linux-image-6.1.0-9-cloud-amd64-dbg linux-image-6.1.0-56-cloud-amd64-dbg
		linux-image-6.1.0-57-cloud-amd64 linux-image-6.1.0-58-amd64-dbg linux-image-6.1.0-10-cloud-amd64-dbg`)
	want := []string{"6.1.0-57-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-9-cloud-amd64"}
	if diff := cmp.Diff(want, kernels("cloud", names, nil)); diff != "" {
		t.Error(diff)
	}
	backports := []string{"6.12.9+deb12", "6.12.117+deb12", "6.12.12+deb12.1", "6.12.12+deb12"}
	slices.SortFunc(backports, compareVersions)
	want = []string{"6.12.9+deb12", "6.12.12+deb12", "6.12.12+deb12.1", "6.12.117+deb12"}
	if diff := cmp.Diff(want, backports); diff != "" {
		t.Error(diff)
	}
}

// TestKernelsWithHeadersComeFirst has names of every flavour and layout, from apt's lists of 2026.
func TestKernelsWithHeadersComeFirst(t *testing.T) {
	images := strings.Fields(`linux-image-7.3-cloud-amd64 linux-image-7.3.4+deb13-amd64 linux-image-7.3.4+deb13-cloud-amd64
		linux-image-7.3.4+deb13-rt-amd64 linux-image-7.2.13+deb14-amd64 linux-image-7.2.12+deb13-amd64
		linux-image-6.1.0-0.deb11.52-amd64-unsigned linux-image-5.10.0-46-amd64 linux-image-5.10.0-46-rt-amd64-dbg
		linux-image-amd64 linux-image-amd64-dbg`)
	headers := strings.Fields("linux-headers-7.2.13+deb14-amd64 linux-headers-5.10.0-46-amd64 linux-headers-amd64")
	for flavour, want := range map[string]string{
		"generic": "7.2.13+deb14-amd64 5.10.0-46-amd64 7.3.4+deb13-amd64 7.2.12+deb13-amd64 6.1.0-0.deb11.52-amd64",
		"cloud":   "7.3.4+deb13-cloud-amd64 7.3-cloud-amd64",
		"rt":      "7.3.4+deb13-rt-amd64 5.10.0-46-rt-amd64",
	} {
		if diff := cmp.Diff(strings.Fields(want), kernels(flavour, images, headers)); diff != "" {
			t.Errorf("%s: %s", flavour, diff)
		}
	}
}

// split is what apt-cache show prints of a kernel whose files are spread over several packages.
const split = `Package: linux-image-7.3.4+deb13-rt-amd64
Version: 7.3.4-1

Package: linux-binary-7.3.4+deb13-rt-amd64
Version: 7.3.4-1

Package: linux-modules-7.3.4+deb13-rt-amd64
Version: 7.3.4-1
`

func TestAssembleTakesSplitPackages(t *testing.T) {
	const kernel = "7.3.4+deb13-rt-amd64"
	p, ok := assemble(kernel, parseIndex(split), nil, nil)
	if !ok || p.complete() {
		t.Fatalf("got %+v, %v", p, ok)
	}
	want := []deb{{Name: "linux-binary-" + kernel, Version: "7.3.4-1"}, {Name: "linux-modules-" + kernel, Version: "7.3.4-1"}}
	if got := p.booted(); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	if p, ok := assemble(kernel, parseIndex(strings.ReplaceAll(split, "7.3.4-1", "7.3.4~rc1-1")), nil, nil); ok {
		t.Errorf("a release candidate: got %+v", p)
	}
}

// index is what apt-cache show prints of one kernel, image signed and unsigned.
const index = `Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-1

Package: linux-image-6.1.0-56-cloud-amd64-unsigned
Version: 6.1.192-2
Depends: kmod

Package: linux-image-6.1.0-56-cloud-amd64-dbg
Version: 6.1.192-2
Size: 283308068

Package: linux-headers-6.1.0-56-cloud-amd64
Version: 6.1.192-2
Depends: linux-headers-6.1.0-56-common (= 6.1.192-2), linux-kbuild-6.1 (>= 6.1.192-2), linux-compiler-gcc-12-x86
`

const build = `Package: linux-headers-6.1.0-56-common
Version: 6.1.192-2

Package: linux-kbuild-6.1
Version: 6.1.192-2
`

func TestAssembleMatchesVersions(t *testing.T) {
	const kernel = "6.1.0-56-cloud-amd64"
	known := parseIndex(index)
	needed := dependencies(known["linux-headers-"+kernel].depends)
	p, ok := assemble(kernel, known, needed, parseIndex(build))
	if !ok {
		t.Fatal("not complete")
	}
	var names []string
	for _, d := range slices.Concat(p.booted(), p.Headers, []deb{p.Debug}) {
		names = append(names, d.Name)
	}
	// The signed image is of another build than the debug information.
	want := []string{
		"linux-image-" + kernel + "-unsigned", "linux-headers-" + kernel, "linux-headers-6.1.0-56-common",
		"linux-kbuild-6.1", "linux-image-" + kernel + "-dbg",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if p.Version != "6.1.192-2" || p.Debug.Size != 283308068 {
		t.Errorf("got version %s, size %d", p.Version, p.Debug.Size)
	}
}

func TestAssembleReportsMissing(t *testing.T) {
	const kernel = "6.1.0-56-cloud-amd64"
	for _, gone := range []string{"-unsigned", "-dbg", "linux-headers-6.1.0-56-cloud", "linux-kbuild", "-common"} {
		t.Run(gone, func(t *testing.T) {
			known, more := parseIndex(index), parseIndex(build)
			needed := dependencies(known["linux-headers-"+kernel].depends)
			for _, packages := range []map[string]deb{known, more} {
				for name := range packages {
					if strings.Contains(name, gone) {
						delete(packages, name)
					}
				}
			}
			if p, ok := assemble(kernel, known, needed, more); ok && p.complete() {
				t.Errorf("got %+v", p)
			}
		})
	}
}
