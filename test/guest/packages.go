package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// packages are the Debian packages of one kernel. Their names change with every security update, so they are looked up
// and never written down.
type packages struct {
	Kernel  string // what uname -r will say, e.g. "6.1.0-56-cloud-amd64"
	Version string // of the package, e.g. "6.1.192-2"
	Image   deb    // vmlinuz and drivers
	Debug   deb    // vmlinux with DWARF
	Headers []deb  // of the flavour, common to all flavours, and kbuild's programs
}

// deb is one package as the index describes it.
type deb struct {
	Name    string
	Version string
	Size    int64 // of the download, in bytes
	depends string
}

// needed are those without which there is no guest.
func (p *packages) needed() []deb { return append([]deb{p.Image}, p.Headers...) }

// errNoKernel says that the package lists hold no complete kernel, perhaps because there are no lists.
var errNoKernel = errors.New("no kernel with image, debug and header packages in apt's lists")

// newest finds the newest kernel of a series ("6.1", "6.12") of which every needed package is to be had.
func newest(ctx context.Context, series string) (*packages, error) {
	out, err := run(ctx, "", "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return nil, err
	}
	names := strings.Fields(out)
	for _, kernel := range kernels(names) {
		index, err := lookup(ctx, "linux-image-"+kernel, "linux-image-"+kernel+"-unsigned",
			"linux-image-"+kernel+"-dbg", "linux-headers-"+kernel)
		if err != nil {
			return nil, err
		}
		build := dependencies(index["linux-headers-"+kernel].depends)
		more, err := lookup(ctx, build...)
		if err != nil {
			return nil, err
		}
		if p, ok := assemble(kernel, index, build, more); ok {
			return p, nil
		}
	}
	return nil, fmt.Errorf("kernel %s: %w", series, errNoKernel)
}

// kernels picks the cloud kernels with debug packages out of package names, newest first.
func kernels(names []string) []string {
	debug := regexp.MustCompile(`^linux-image-(\d\S*-cloud-amd64)-dbg$`)
	var found []string
	for _, name := range names {
		if m := debug.FindStringSubmatch(name); m != nil {
			found = append(found, m[1])
		}
	}
	slices.SortFunc(found, func(a, b string) int { return compareVersions(b, a) })
	return found
}

// dependencies picks the two packages that kernel headers cannot be used without out of a Depends: line.
func dependencies(depends string) []string {
	return regexp.MustCompile(`linux-headers-\S+-common|linux-kbuild-[^\s,]+`).FindAllString(depends, -1)
}

// assemble joins packages that belong together; image and debug information must come from the same build.
func assemble(kernel string, index map[string]deb, build []string, more map[string]deb) (*packages, bool) {
	p := &packages{Kernel: kernel, Debug: index["linux-image-"+kernel+"-dbg"]}
	p.Version = p.Debug.Version
	for _, name := range []string{"linux-image-" + kernel, "linux-image-" + kernel + "-unsigned"} {
		if image, ok := index[name]; ok && image.Version == p.Version && p.Image.Name == "" {
			p.Image = image
		}
	}
	headers, ok := index["linux-headers-"+kernel]
	if p.Version == "" || p.Image.Name == "" || !ok || len(build) < 2 {
		return nil, false
	}
	p.Headers = append(p.Headers, headers)
	for _, name := range build {
		d, ok := more[name]
		if !ok {
			return nil, false
		}
		p.Headers = append(p.Headers, d)
	}
	return p, true
}

// lookup asks the index for packages; those it does not know are left out.
func lookup(ctx context.Context, names ...string) (map[string]deb, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := run(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	// It fails when it knows none of the names, too: what it printed decides.
	return parseIndex(out), nil
}

// parseIndex reads the paragraphs that apt-cache show prints.
func parseIndex(text string) map[string]deb {
	index := map[string]deb{}
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		var d deb
		for line := range strings.SplitSeq(paragraph, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "Package":
				d.Name = value
			case "Version":
				d.Version = value
			case "Size":
				d.Size, _ = strconv.ParseInt(value, 10, 64) // only ever shown to a person
			case "Depends":
				d.depends = value
			}
		}
		if d.Name != "" {
			index[d.Name] = d
		}
	}
	return index
}

// compareVersions orders kernel names as people do: 6.1.0-9 before 6.1.0-56.
func compareVersions(a, b string) int {
	number := regexp.MustCompile(`\d+|\D+`)
	return slices.CompareFunc(number.FindAllString(a, -1), number.FindAllString(b, -1), func(x, y string) int {
		i, errX := strconv.Atoi(x)
		j, errY := strconv.Atoi(y)
		if errX != nil || errY != nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(i, j)
	})
}
