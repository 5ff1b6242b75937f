package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// Newest is the series of the newest kernel of all suites that has headers.
const Newest = "newest"

// Wanted describes the kernel to prepare.
type Wanted struct {
	// Series is the kernel series, such as "6.1", or [Newest].
	Series string
	// Flavour is "cloud" (also ""), "generic" or "rt".
	Flavour string
	// NoDebug skips the debug package of hundreds of MB: there is no Vmlinux.
	NoDebug bool
}

// flavours returns the suffix of the release of each flavour.
func flavours() map[string]string {
	return map[string]string{"cloud": "-cloud-amd64", "generic": "-amd64", "rt": "-rt-amd64"}
}

// prefix returns the prefix of the releases of the series.
func (w *Wanted) prefix() string {
	if w.Series == Newest {
		return ""
	}
	return w.Series + "."
}

// name returns the series with the flavour, unless that is cloud.
func (w *Wanted) name() string { return w.Series + w.suffix() }

func (w *Wanted) suffix() string {
	if w.Flavour == "cloud" {
		return ""
	}
	return "-" + w.Flavour
}

// Kernel is a Debian kernel that is ready to boot, with its files.
type Kernel struct {
	// Release is the output of uname -r, e.g. "6.12.117+deb12-cloud-amd64".
	Release string
	// Version is that of the Debian package.
	Version string
	// Vmlinuz is the file to boot.
	Vmlinuz string
	// Vmlinux is the same kernel as an ELF file with debug information; "" if it was prepared
	// without, or has none.
	Vmlinux string
	// SystemMap is the linker's list of the kernel's symbols; "" for Debian's kernels.
	SystemMap string
	// Drivers are the modules that a guest needs for its network, in the order in which they load;
	// none for kernels whose modules are no longer published.
	Drivers []string
	// Headers is the directory that modules are built against; "" for kernels without headers.
	Headers string
	// Module is physgdb.ko, built from bridge/notify/module for this kernel; "" without headers.
	Module string
	// Trouble is trouble.ko, built from test/guest/trouble for this kernel: it panics in other ways
	// than by sysrq; "" without headers.
	Trouble string
	// Instrumented is instrumented.ko, built from test/guest/instrumented for this kernel: its
	// functions are probed and patched; "" without headers.
	Instrumented string
	// Dummy is dummy_000.ko, built from test/guest/dummy for this kernel: the guest loads it under
	// many names; "" without headers.
	Dummy string
}

// Prepare returns the newest Debian kernel of a series. The first time it downloads some 350 MB and
// keeps 400 to 700 MB in the user's cache directory, under physgdb-test/VERSION; later it is fast.
// Several processes may call it at the same time. Older versions are not removed. A nil logger
// means no messages.
func Prepare(ctx context.Context, series string, log hclog.Logger) (*Kernel, error) {
	return PrepareKernel(ctx, Wanted{Series: series}, log)
}

// PrepareWithoutDebug is [Prepare] without a vmlinux: the first time it downloads some
// 45 MB and keeps 100. It is the same kernel: Prepare only adds the vmlinux later.
func PrepareWithoutDebug(ctx context.Context, series string, log hclog.Logger) (*Kernel, error) {
	return PrepareKernel(ctx, Wanted{Series: series, NoDebug: true}, log)
}

// PrepareKernel is [Prepare] for kernels of every flavour.
func PrepareKernel(ctx context.Context, w Wanted, log hclog.Logger) (*Kernel, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	w.Flavour = cmp.Or(w.Flavour, "cloud")
	if flavours()[w.Flavour] == "" {
		return nil, fmt.Errorf("prepare kernel: unknown flavour %q, want cloud, generic or rt", w.Flavour)
	}
	k, err := prepare(ctx, w, log)
	if err != nil {
		return nil, fmt.Errorf("prepare kernel %s: %w", w.name(), err)
	}
	return k, nil
}

func prepare(ctx context.Context, w Wanted, log hclog.Logger) (*Kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(cache, w.name()+".lock"), log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &chooser{Wanted: w, cache: cache, log: log}
	var p *packages
	for _, c.archive = range archives(cache, w.Series, c.recall()) {
		if p, err = provide(ctx, c); !errors.Is(err, errNoKernel) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return c.open(ctx, p)
}

// provide makes sure that the newest kernel is in the cache. If it is not available, an older one
// in the cache is used.
func provide(ctx context.Context, c *chooser) (*packages, error) {
	kept := c.recall()
	p, err := c.choose(ctx, kept)
	if err == nil {
		err = c.install(ctx, p)
	}
	if err == nil || ctx.Err() != nil {
		return p, err
	}
	// There are no lists, or the archive has replaced the packages in them.
	c.log.Info("could not get a kernel, trying again with new package lists", "error", err)
	if p, err = c.renew(ctx); err == nil {
		err = c.install(ctx, p)
	}
	// Some packages are listed but missing. Then an older kernel of the series is used.
	for err != nil && p != nil && !c.archive.complete && ctx.Err() == nil {
		c.log.Warn("could not get the newest kernel, trying the one before", "kernel", p.Kernel, "error", err)
		c.missing = append(c.missing, p.Kernel)
		if p, err = c.choose(ctx, nil); err == nil {
			err = c.install(ctx, p)
		}
	}
	if err != nil && kept != nil && c.has(kept.Packages) {
		c.log.Warn("no newer kernel to be had, taking the one that is here", "kernel", kept.Packages.Kernel, "error", err)
		return kept.Packages, nil
	}
	return p, err
}

// home returns the directory of a kernel.
func (c *chooser) home(p *packages) string { return filepath.Join(c.cache, p.Version+c.suffix()) }

func (c *chooser) vmlinux(p *packages) string { return filepath.Join(c.home(p), "vmlinux") }

// lockHome locks a kernel's directory, which several series may use: a kernel may be the newest of
// its series and the newest of all.
func (c *chooser) lockHome(ctx context.Context, p *packages) (func(), error) {
	return lock(ctx, c.home(p)+".lock", c.log)
}

// wantsDebug reports whether the debug package is wanted and exists.
func (c *chooser) wantsDebug(p *packages) bool { return !c.NoDebug && p.Debug.Name != "" }

// has reports whether all wanted files of a kernel are in the cache.
func (c *chooser) has(p *packages) bool {
	return exists(c.home(p)) && (!c.wantsDebug(p) || exists(c.vmlinux(p)))
}

// install downloads the wanted files of a kernel that are not in the cache, and stores the choice.
func (c *chooser) install(ctx context.Context, p *packages) error {
	home := c.home(p)
	unlock, err := c.lockHome(ctx, p)
	if err != nil {
		return err
	}
	defer unlock()
	if !exists(home) {
		err := create(home, func(dir string) error { return c.fetch(ctx, p, dir, home) })
		if err != nil {
			return err
		}
	}
	if !c.has(p) {
		err := c.fetchDebug(ctx, p)
		if err != nil && c.archive.complete {
			return err
		}
		if err != nil { // some are listed but missing
			c.log.Warn("there will be no vmlinux", "error", err)
		}
	}
	return c.remember(p)
}

// open builds the modules for a kernel in the cache and returns the kernel.
func (c *chooser) open(ctx context.Context, p *packages) (*Kernel, error) {
	home := c.home(p)
	k := &Kernel{
		Release: p.Kernel,
		Version: p.Version,
		Vmlinuz: filepath.Join(home, "vmlinuz"),
	}
	if c.wantsDebug(p) && c.has(p) {
		k.Vmlinux = c.vmlinux(p)
	}
	var err error
	if k.Drivers, err = filepath.Glob(filepath.Join(home, "drivers", "*.ko")); err != nil {
		return nil, fmt.Errorf("find drivers: %w", err)
	}
	slices.Sort(k.Drivers)
	if _, err := os.Stat(k.Vmlinuz); err != nil {
		return nil, fmt.Errorf("%w; remove %s to create it again", err, home)
	}
	if len(p.Headers) == 0 {
		return k, nil
	}
	k.Headers = filepath.Join(home, headersOf(p.Kernel))
	unlock, err := c.lockHome(ctx, p)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return k, c.buildModules(ctx, p, k)
}

// module is a module to build: its directory in the repository, the file made there, and the
// variable for its path.
type module struct {
	source, file string
	built        *string
}

func modules(k *Kernel) []module {
	return []module{
		{"bridge/notify/module", "physgdb.ko", &k.Module},
		{"test/guest/trouble", "trouble.ko", &k.Trouble},
		{"test/guest/instrumented", "instrumented.ko", &k.Instrumented},
		{"test/guest/dummy", "dummy_000.ko", &k.Dummy},
	}
}

// buildModules builds the modules for a kernel that has headers.
func (c *chooser) buildModules(ctx context.Context, p *packages, k *Kernel) error {
	home := c.home(p)
	root, err := c.buildRoot(ctx, p, home)
	if err != nil {
		return err
	}
	b := &moduleBuilder{kernel: p.Kernel, home: home, root: root, log: c.log}
	for _, m := range modules(k) {
		if *m.built, err = b.build(ctx, m.source, m.file); err != nil {
			return err
		}
	}
	return nil
}
