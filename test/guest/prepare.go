package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// Kernel is a Debian kernel, ready to be booted, and what belongs to it.
type Kernel struct {
	// Release is what uname -r says, e.g. "6.12.117+deb12-cloud-amd64".
	Release string
	// Version is that of the Debian package.
	Version string
	// Vmlinuz is the file to boot.
	Vmlinuz string
	// Vmlinux is the same kernel as an ELF file with debug information; "" if it was prepared without.
	Vmlinux string
	// Drivers are the modules that a guest needs for its network, in the order in which they load.
	Drivers []string
	// Module is physgdb.ko, built from bridge/notify/module for this kernel.
	Module string
	// Trouble is trouble.ko, built from test/guest/trouble for this kernel: it lets the kernel die in other ways than
	// by request.
	Trouble string
	// Dummy is dummy_000.ko, built from test/guest/dummy for this kernel: the guest loads it under many names.
	Dummy string
}

// Prepare returns the newest Debian kernel of a series, "6.1" or "6.12". The first time it downloads some 350 MB and
// keeps 400 to 700 MB in the user's cache directory, under physgdb-test/VERSION; later it takes a moment. Any number of
// processes may call it at once. Older versions stay until someone removes them. A nil logger means silence.
func Prepare(ctx context.Context, series string, log hclog.Logger) (*Kernel, error) {
	return prepareAs(ctx, series, true, log)
}

// PrepareWithoutDebug is [Prepare] for those who need no vmlinux: the first time it downloads some 45 MB and keeps 100.
// It is the same kernel, and all that Prepare has to add later is the vmlinux.
func PrepareWithoutDebug(ctx context.Context, series string, log hclog.Logger) (*Kernel, error) {
	return prepareAs(ctx, series, false, log)
}

func prepareAs(ctx context.Context, series string, debug bool, log hclog.Logger) (*Kernel, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	k, err := prepare(ctx, series, debug, log)
	if err != nil {
		return nil, fmt.Errorf("prepare kernel %s: %w", series, err)
	}
	return k, nil
}

func prepare(ctx context.Context, series string, debug bool, log hclog.Logger) (*Kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(cache, series+".lock"), log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &chooser{cache: cache, series: series, debug: debug, log: log}
	p, err := provide(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, p)
}

// provide sees to it that the newest kernel is in the cache. When it cannot be had, an older one that is there will do.
func provide(ctx context.Context, c *chooser) (*packages, error) {
	kept := c.recall()
	p, err := c.choose(ctx, kept)
	if err == nil {
		err = c.install(ctx, p)
	}
	if err == nil || ctx.Err() != nil {
		return p, err
	}
	// There are no lists, or what they name has been replaced in the archive since.
	c.log.Info("could not get a kernel, trying again with new package lists", "error", err)
	if p, err = c.renew(ctx); err == nil {
		err = c.install(ctx, p)
	}
	if err != nil && kept != nil && c.has(kept.Packages) {
		c.log.Warn("no newer kernel to be had, taking the one that is here", "kernel", kept.Packages.Kernel, "error", err)
		return kept.Packages, nil
	}
	return p, err
}

// home is where a kernel is kept.
func (c *chooser) home(p *packages) string { return filepath.Join(c.cache, p.Version) }

func (c *chooser) vmlinux(p *packages) string { return filepath.Join(c.home(p), "vmlinux") }

// has says whether all that is wanted of a kernel is in the cache.
func (c *chooser) has(p *packages) bool {
	return exists(c.home(p)) && (!c.debug || exists(c.vmlinux(p)))
}

// install fetches of a kernel what is wanted and not in the cache, and remembers that it was chosen.
func (c *chooser) install(ctx context.Context, p *packages) error {
	home := c.home(p)
	if !exists(home) {
		err := create(home, func(dir string) error { return fetch(ctx, p, dir, home, c.log) })
		if err != nil {
			return err
		}
	}
	if !c.has(p) {
		if err := fetchDebug(ctx, p, c.vmlinux(p), c.log); err != nil {
			return err
		}
	}
	return c.remember(p)
}

// open describes a kernel that is in the cache, after building the modules for it.
func (c *chooser) open(ctx context.Context, p *packages) (*Kernel, error) {
	home := c.home(p)
	module, err := buildModule(ctx, home, p.Kernel, "bridge/notify/module", "physgdb.ko", c.log)
	if err != nil {
		return nil, err
	}
	trouble, err := buildModule(ctx, home, p.Kernel, "test/guest/trouble", "trouble.ko", c.log)
	if err != nil {
		return nil, err
	}
	dummy, err := buildModule(ctx, home, p.Kernel, "test/guest/dummy", "dummy_000.ko", c.log)
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		Release: p.Kernel,
		Version: p.Version,
		Vmlinuz: filepath.Join(home, "vmlinuz"),
		Module:  module,
		Trouble: trouble,
		Dummy:   dummy,
	}
	if c.debug {
		k.Vmlinux = c.vmlinux(p)
	}
	k.Drivers, err = filepath.Glob(filepath.Join(home, "drivers", "*.ko"))
	if err != nil {
		return nil, fmt.Errorf("find drivers: %w", err)
	}
	slices.Sort(k.Drivers)
	if _, err := os.Stat(k.Vmlinuz); err != nil {
		return nil, fmt.Errorf("%w; remove %s to have it made again", err, home)
	}
	return k, nil
}
