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

// packages are the Debian packages of one kernel. Their names change with every security update, so
// they are looked up each time.
type packages struct {
	Kernel  string // the output of uname -r, e.g. "6.1.0-56-cloud-amd64"
	Version string // of the package, e.g. "6.1.192-2"
	Image   deb    // vmlinuz, and usually drivers
	Modules deb    // drivers, if they are a separate package: 7.2 and later
	Debug   deb    // vmlinux with DWARF; its Name is "" if there is none
	Headers []deb  // of the flavour, common to all flavours, and kbuild's programs; none if they were not published

	Toolchain toolchain // for modules, if there are headers
}

// deb is one package as the index describes it.
type deb struct {
	Name    string
	Version string
	Size    int64 // of the download, in bytes
	depends string
}

// booted returns the packages that a guest is booted from.
func (p *packages) booted() []deb {
	if p.Modules.Name == "" {
		return []deb{p.Image}
	}
	return []deb{p.Image, p.Modules}
}

// complete reports whether there are debug information and headers.
func (p *packages) complete() bool { return p.Debug.Name != "" && len(p.Headers) > 0 }

// errNoKernel is the error for package lists without a matching kernel, perhaps because there are
// no lists.
var errNoKernel = errors.New("no kernel with all its packages in apt's lists")

// newest returns the newest kernel of a series except those that are missing. Kernels with headers
// are preferred.
func (a *aptState) newest(ctx context.Context, w Wanted, missing []string) (*packages, error) {
	images, err := a.cache(ctx, "pkgnames", "linux-image-"+w.prefix())
	if err != nil {
		return nil, err
	}
	headers, err := a.cache(ctx, "pkgnames", "linux-headers-"+w.prefix())
	if err != nil {
		return nil, err
	}
	for _, kernel := range kernels(w.Flavour, strings.Fields(images), strings.Fields(headers)) {
		if slices.Contains(missing, kernel) {
			continue
		}
		p, ok, err := a.find(ctx, kernel)
		if err != nil {
			return nil, err
		}
		if ok && !(w.Series == Newest && len(p.Headers) == 0) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("kernel %s: %w", w.name(), errNoKernel)
}

// find looks up the packages of a kernel.
func (a *aptState) find(ctx context.Context, kernel string) (*packages, bool, error) {
	image := "linux-image-" + kernel
	index, err := a.lookup(ctx, image, image+"-unsigned", image+"-dbg", "linux-headers-"+kernel,
		"linux-binary-"+kernel, "linux-modules-"+kernel)
	if err != nil {
		return nil, false, err
	}
	build := dependencies(index["linux-headers-"+kernel].depends)
	more, err := a.lookup(ctx, build...)
	if err != nil {
		return nil, false, err
	}
	p, ok := assemble(kernel, index, build, more)
	if ok && len(p.Headers) > 0 {
		if p.Toolchain, err = a.findToolchain(ctx, p.Headers); err != nil {
			return nil, false, err
		}
	}
	return p, ok && (p.complete() || !a.complete), nil
}

// kernels returns the kernels of a flavour in a list of package names: first those with headers,
// then the others, both newest first.
func kernels(flavour string, images, headers []string) []string {
	name := regexp.MustCompile(`^linux-image-(\d+\.\d+[^-]*(?:-\d[^-]*)?` + flavours()[flavour] + `)(?:-dbg|-unsigned)?$`)
	var found []string
	for _, image := range images {
		if m := name.FindStringSubmatch(image); m != nil && !slices.Contains(found, m[1]) {
			found = append(found, m[1])
		}
	}
	bare := func(kernel string) int {
		if slices.Contains(headers, "linux-headers-"+kernel) {
			return 0
		}
		return 1
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(bare(a), bare(b)), compareVersions(b, a))
	})
	return found
}

// dependencies returns the two packages in a Depends: line that kernel headers require.
func dependencies(depends string) []string {
	return regexp.MustCompile(`linux-headers-\S+-common(?:-rt)?|linux-kbuild-[^\s,]+`).FindAllString(depends, -1)
}

// assemble returns packages of the same build. The version is that of the headers or the debug
// information if there are any, because a signed image may still be from the previous build.
// Release candidates are refused.
func assemble(kernel string, index map[string]deb, build []string, more map[string]deb) (*packages, bool) {
	image, headers := "linux-image-"+kernel, index["linux-headers-"+kernel]
	p := &packages{Kernel: kernel}
	p.Version = cmp.Or(index[image+"-dbg"].Version, headers.Version, index["linux-binary-"+kernel].Version, index[image].Version)
	own := func(name string) deb {
		if d := index[name]; d.Version == p.Version {
			return d
		}
		return deb{}
	}
	p.Image = cmp.Or(own("linux-binary-"+kernel), own(image), own(image+"-unsigned"))
	p.Modules, p.Debug = own("linux-modules-"+kernel), own(image+"-dbg")
	if all := collect(build, more); len(all) == 2 && headers.Version == p.Version {
		p.Headers = append([]deb{headers}, all...)
	}
	return p, p.Image.Name != "" && !strings.Contains(p.Version, "~rc")
}

// collect returns the packages of the given names that are known.
func collect(names []string, known map[string]deb) []deb {
	var all []deb
	for _, name := range names {
		if d, ok := known[name]; ok {
			all = append(all, d)
		}
	}
	return all
}

// lookup returns the packages in the index, without those that are missing in it.
func (a *aptState) lookup(ctx context.Context, names ...string) (map[string]deb, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := a.cache(ctx, append([]string{"show", "--no-all-versions"}, names...)...)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	// It also fails if all names are missing, so only its output counts.
	return parseIndex(out), nil
}

// parseIndex parses the output of apt-cache show.
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
				d.Size, _ = strconv.ParseInt(value, 10, 64) // only for messages
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

// compareVersions orders kernel names by their numbers: 6.1.0-9 before 6.1.0-56.
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
