package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Custom is a kernel that Debian does not ship: built from Debian's source with a configuration of
// test/guest/custom.
type Custom struct {
	// Name is the name of the configuration, without .config.
	Name string
	// Series is the kernel series of the source package, such as "6.12".
	Series string
	// Make are arguments for make, such as "LLVM=-16".
	Make []string
	// About describes the kernel in a few words.
	About string

	fragments []string // files of the configuration
}

// customDir is the directory of the configurations in the repository.
const customDir = "test/guest/custom"

// commonConfig is the file with the options of all configurations.
const commonConfig = "common.config"

// Customs returns the kernels of test/guest/custom, those that share a build tree next to each
// other.
func Customs(ctx context.Context) ([]*Custom, error) {
	root, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, customDir, "*.config"))
	if err != nil {
		return nil, fmt.Errorf("find configurations: %w", err)
	}
	var all []*Custom
	for _, file := range files {
		if filepath.Base(file) == commonConfig {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		c, err := parseCustom(strings.TrimSuffix(filepath.Base(file), ".config"), string(text))
		if err != nil {
			return nil, err
		}
		c.fragments = []string{filepath.Join(root, customDir, commonConfig), file}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b *Custom) int { return strings.Compare(a.tree(), b.tree()) })
	return all, nil
}

var customKey = regexp.MustCompile(`(?m)^# (source|make|about): (.*)$`)

// parseCustom reads the comments of a configuration.
func parseCustom(name, text string) (*Custom, error) {
	c := &Custom{Name: name}
	for _, found := range customKey.FindAllStringSubmatch(text, -1) {
		switch value := found[2]; found[1] {
		case "source":
			c.Series = value
		case "make":
			c.Make = strings.Fields(value)
		case "about":
			c.About = value
		}
	}
	if c.Series == "" || c.About == "" {
		return nil, fmt.Errorf("%s.config: no comment \"# source: SERIES\" or no \"# about: TEXT\"", name)
	}
	return c, nil
}

// tree returns the name of the build tree. Kernels of one source and one compiler share it, so that
// files which do not depend on the differences are compiled once.
// It has no "=": make takes a prerequisite with one for a variable.
func (c *Custom) tree() string {
	return strings.ReplaceAll(strings.Join(append([]string{c.Series}, c.Make...), "-"), "=", "")
}

// PrepareCustom returns a custom kernel, built if the cache has none of the same source and
// configuration. A build needs the packages that "setup.sh custom" installs. A nil logger means no
// messages.
func PrepareCustom(ctx context.Context, c *Custom, log hclog.Logger) (*Kernel, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	k, err := c.prepare(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("prepare kernel %s: %w", c.Name, err)
	}
	return k, nil
}

func (c *Custom) prepare(ctx context.Context, log hclog.Logger) (*Kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "custom.lock"), log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	root, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	trouble, err := moduleSources(filepath.Join(root, "test/guest/trouble"))
	if err != nil {
		return nil, err
	}
	source, err := fetchSource(ctx, filepath.Join(cache, "custom-source"), c.Series, log)
	if err != nil {
		return nil, err
	}
	sum, err := fingerprint(slices.Concat(c.fragments, trouble)...)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(cache, "custom-"+c.Name)
	stamp := filepath.Base(source) + " " + sum
	if made, err := os.ReadFile(filepath.Join(home, "stamp")); err != nil || string(made) != stamp {
		b := &customBuild{Custom: c, source: source, tree: filepath.Join(cache, "custom-build", c.tree()), log: log}
		if err := os.RemoveAll(home); err != nil {
			return nil, fmt.Errorf("remove the previous build: %w", err)
		}
		err := create(home, func(dir string) error { return b.build(ctx, dir, trouble, stamp) })
		if err != nil {
			return nil, err
		}
	}
	return c.open(home)
}

// open describes a kernel that has been built.
func (c *Custom) open(home string) (*Kernel, error) {
	release, err := os.ReadFile(filepath.Join(home, "release"))
	if err != nil {
		return nil, fmt.Errorf("open a built kernel: %w; remove %s to build it again", err, home)
	}
	return &Kernel{
		Release:   strings.TrimSpace(string(release)),
		Vmlinuz:   filepath.Join(home, "bzImage"),
		Vmlinux:   filepath.Join(home, "vmlinux"),
		SystemMap: filepath.Join(home, "System.map"),
		Trouble:   filepath.Join(home, "trouble.ko"),
	}, nil
}

// customBuild is the build of one kernel.
type customBuild struct {
	*Custom
	source, tree string
	log          hclog.Logger
}

// build builds the kernel and trouble.ko, and puts the results into dir.
func (b *customBuild) build(ctx context.Context, dir string, trouble []string, stamp string) error {
	if err := b.configure(ctx, dir); err != nil {
		return err
	}
	b.log.Info("building " + b.Name)
	if _, err := b.make(ctx, "bzImage", "modules"); err != nil {
		return err
	}
	release, err := b.make(ctx, "-s", "kernelrelease")
	if err != nil {
		return err
	}
	module := filepath.Join(dir, "trouble")
	if err := os.Mkdir(module, 0o755); err != nil {
		return fmt.Errorf("build trouble.ko: %w", err)
	}
	if err := copyAll(trouble, module); err != nil {
		return err
	}
	if _, err := b.make(ctx, "M="+module, "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"); err != nil {
		return err
	}
	for _, file := range []string{
		"vmlinux", "System.map", ".config", "arch/x86/boot/bzImage", filepath.Join(module, "trouble.ko"),
	} {
		from := file
		if !filepath.IsAbs(from) {
			from = filepath.Join(b.tree, file)
		}
		if err := copyTo(filepath.Join(dir, filepath.Base(file)), from); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"release": release, "stamp": stamp} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("keep the kernel: %w", err)
		}
	}
	return nil
}

// configure writes the tree's configuration. An option that the fragments set and the tree does not
// have is an error: the kernel would not match its name. Common options that kernels of this age do
// not have are not needed.
func (b *customBuild) configure(ctx context.Context, dir string) error {
	var text strings.Builder
	var own string
	for _, file := range b.fragments {
		fragment, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("configure: %w", err)
		}
		text.Write(fragment)
		if filepath.Base(file) != commonConfig {
			own = string(fragment)
		}
	}
	wanted := filepath.Join(dir, "wanted")
	if err := os.WriteFile(wanted, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if err := os.MkdirAll(b.tree, 0o755); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if _, err := b.make(ctx, "KCONFIG_ALLCONFIG="+wanted, "allnoconfig"); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(b.tree, ".config"))
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	lost := lostOptions(text.String(), string(config))
	if len(lost) == 0 {
		return nil
	}
	defined, err := definedOptions(b.source)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	lost = slices.DeleteFunc(lost, func(option string) bool {
		name, _, _ := strings.Cut(option, "=")
		return !defined[name] && !strings.Contains(own, option)
	})
	if len(lost) > 0 {
		return fmt.Errorf("the source or the compiler does not allow %s", strings.Join(lost, ", "))
	}
	return nil
}

// lostOptions returns the options of the fragments which a configuration does not have.
func lostOptions(wanted, config string) (lost []string) {
	has := map[string]bool{}
	for line := range strings.Lines(config) {
		has[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(wanted) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "CONFIG_") && !has[line] {
			lost = append(lost, line)
		}
	}
	return lost
}

// optionDefinition matches the first line of an option's definition in a Kconfig file.
var optionDefinition = regexp.MustCompile(`(?m)^\s*(?:menu)?config (\w+)`)

// definedOptions returns the options that the Kconfig files of a kernel source define, with
// CONFIG_ before their names.
func definedOptions(source string) (map[string]bool, error) {
	defined := map[string]bool{}
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "Kconfig") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range optionDefinition.FindAllSubmatch(text, -1) {
			defined["CONFIG_"+string(m[1])] = true
		}
		return err
	})
	return defined, err
}

// make runs make in the source for the tree. Timestamp and version are fixed, so that a build can
// be repeated.
func (b *customBuild) make(ctx context.Context, args ...string) (string, error) {
	args = slices.Concat([]string{
		"-C", b.source, "O=" + b.tree, "-j", strconv.Itoa(runtime.NumCPU()), "LOCALVERSION=-" + b.Name,
		"KBUILD_BUILD_TIMESTAMP=2026-01-01", "KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_USER=physgdb",
		"KBUILD_BUILD_HOST=test",
	}, b.Make, args)
	out, err := run(ctx, "", "make", args...)
	if err != nil {
		return "", fmt.Errorf("%w; setup.sh custom installs the packages for a build", err)
	}
	return out, nil
}

// fetchSource returns the unpacked source of the newest package of a series, downloaded into dir if
// it is not there.
func fetchSource(ctx context.Context, dir, series string, log hclog.Logger) (string, error) {
	name := "linux-source-" + series
	archive, d, err := findSource(ctx, filepath.Dir(dir), series, name, log)
	if err != nil {
		return "", err
	}
	home := filepath.Join(dir, name+"_"+d.Version)
	if exists(home) {
		return home, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	err = createPart(home, name, func(dir string) error {
		if err := archive.download(ctx, []deb{d}, dir, log); err != nil {
			return err
		}
		return unpackAs(ctx, d, dir, dir, unpackSource, log)
	})
	return home, err
}

// findSource finds the newest source package of a series.
func findSource(ctx context.Context, cache, series, name string, log hclog.Logger) (*aptState, deb, error) {
	for _, a := range archives(cache, series, nil) {
		c := &chooser{cache: cache, archive: a, log: log}
		if a.stale() {
			if err := c.update(ctx); err != nil {
				log.Warn("could not update the package lists", "error", err)
			}
		}
		index, err := a.lookup(ctx, name)
		if err != nil {
			return nil, deb{}, err
		}
		if d, ok := index[name]; ok {
			return a, d, nil
		}
	}
	return nil, deb{}, fmt.Errorf("package %s is not in apt's lists", name)
}

// unpackSource unpacks the archive that a source package consists of.
func unpackSource(ctx context.Context, deb, dir string) error {
	archive := filepath.Join(dir, "source.tar.xz")
	err := unpack(ctx, deb, func(name string) (string, bool) {
		if strings.HasSuffix(name, ".tar.xz") {
			return archive, true
		}
		return "", false
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(archive); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no source", deb)
	}
	_, err = run(ctx, dir, "tar", "-xf", archive)
	return err
}
