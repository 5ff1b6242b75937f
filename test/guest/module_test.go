package guest

import (
	"debug/elf"
	"flag"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

var everyHeaders = flag.Bool("headers", false, "build the modules for kernels of every series, suite and flavour")

// TestModulesOfEveryHeaders builds all modules for the newest kernel of each series, suite and
// flavour that has headers.
func TestModulesOfEveryHeaders(t *testing.T) {
	if !*everyHeaders {
		t.Skip("slow, with large downloads; run it with -headers")
	}
	log := hclog.New(&hclog.LoggerOptions{Output: t.Output()})
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range []*aptState{ownArchive(), suitesArchive(cache)} {
		for flavour := range flavours() {
			c := &chooser{Wanted: Wanted{NoDebug: true, Flavour: flavour}, cache: cache, archive: archive, log: log}
			for _, p := range c.newestWithHeaders(t) {
				t.Run(archive.name+" "+p.Kernel, func(t *testing.T) { c.testModules(t, p) })
			}
		}
	}
}

// newestWithHeaders returns the newest kernel of each series and suite.
func (c *chooser) newestWithHeaders(t *testing.T) []*packages {
	t.Helper()
	names, err := c.archive.cache(t.Context(), "pkgnames", "linux-headers-")
	if err != nil {
		t.Fatal(err)
	}
	headers := strings.Fields(names)
	var images []string
	for _, name := range headers {
		images = append(images, strings.Replace(name, "-headers-", "-image-", 1))
	}
	var newest []*packages
	seen := map[string]bool{}
	for _, kernel := range kernels(c.Flavour, images, headers) {
		kind := kindOf(kernel)
		if seen[kind] {
			continue
		}
		p, ok, err := c.archive.find(t.Context(), kernel)
		if err != nil {
			t.Fatal(err)
		}
		if ok && len(p.Headers) > 0 {
			seen[kind] = true
			newest = append(newest, p)
		}
	}
	return newest
}

// kindOf returns the series of a kernel and its suffix for a release of Debian, if there is one.
func kindOf(kernel string) string {
	return strings.Join(regexp.MustCompile(`^\d+\.\d+|deb\d+`).FindAllString(kernel, -1), " ")
}

func TestKindOfKernel(t *testing.T) {
	for kernel, want := range map[string]string{
		"5.10.0-46-cloud-amd64":           "5.10",
		"6.1.0-0.deb11.52-amd64":          "6.1 deb11",
		"7.2.12+deb13-rt-amd64":           "7.2 deb13",
		"7.2.13+deb14-rt-amd64":           "7.2 deb14",
		"6.12.117+deb12-cloud-amd64":      "6.12 deb12",
		"6.12.107+deb13-unsigned-amd64":   "6.12 deb13",
		"7.3.4+deb13-cloud-amd64-deb-9.1": "7.3 deb13",
	} {
		if got := kindOf(kernel); got != want {
			t.Errorf("%s: got %q, want %q", kernel, got, want)
		}
	}
}

// testModules needs only the headers of a kernel.
func (c *chooser) testModules(t *testing.T, p *packages) {
	home := filepath.Join(c.cache, "headers-"+p.Version+c.suffix())
	unlock, err := lock(t.Context(), home+".lock", c.log)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if !exists(home) {
		err := create(home, func(dir string) error { return c.fetchHeaders(t.Context(), p, dir, home) })
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := c.buildRoot(t.Context(), p, home)
	if err != nil {
		t.Fatal(err)
	}
	b := &moduleBuilder{kernel: p.Kernel, home: home, root: root, log: c.log}
	for _, m := range modules(new(Kernel)) {
		file, err := b.build(t.Context(), m.source, m.file)
		if err != nil {
			t.Fatal(err)
		}
		if got := vermagic(t, file); !strings.HasPrefix(got, p.Kernel+" ") {
			t.Errorf("%s is for kernel %q, want %s", file, got, p.Kernel)
		}
	}
}

// vermagic returns the kernel release in a module's file.
func vermagic(t *testing.T, file string) string {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.SplitSeq(string(info), "\x00") {
		if value, ok := strings.CutPrefix(text, "vermagic="); ok {
			return value
		}
	}
	return ""
}
