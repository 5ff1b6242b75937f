package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// drivers are what a guest needs to reach its network card, in the order in which they load. Those that a kernel has
// built in are not files of its package.
func drivers() []string {
	return []string{
		"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
		"failover", "net_failover", "virtio_net",
	}
}

// fetch downloads the packages of a kernel but that with debug information, and lays out in dir what the rig needs of
// them. The directory will be moved to home when all is done.
func fetch(ctx context.Context, p *packages, dir, home string, log hclog.Logger) error {
	debs := filepath.Join(dir, "debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return fmt.Errorf("fetch kernel %s: %w", p.Kernel, err)
	}
	if err := download(ctx, p.needed(), debs, log); err != nil {
		return err
	}
	if err := unpackAs(ctx, p.Image, debs, dir, unpackImage, log); err != nil {
		return err
	}
	for _, d := range p.Headers {
		if err := unpackAs(ctx, d, debs, dir, unpackHeaders, log); err != nil {
			return err
		}
	}
	if err := relocate(p, dir, home); err != nil {
		return err
	}
	return os.RemoveAll(debs)
}

// fetchDebug downloads the package with debug information and makes the vmlinux appear at once and whole.
func fetchDebug(ctx context.Context, p *packages, vmlinux string, log hclog.Logger) error {
	return createFile(vmlinux, func(dir string) error {
		if err := download(ctx, []deb{p.Debug}, dir, log); err != nil {
			return err
		}
		return unpackAs(ctx, p.Debug, dir, dir, unpackDebug, log)
	})
}

// unpackAs takes what the rig needs out of one of the packages in debs.
func unpackAs(ctx context.Context, d deb, debs, dir string, do func(ctx context.Context, deb, dir string) error,
	log hclog.Logger) error {
	found, err := filepath.Glob(filepath.Join(debs, d.Name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("package %s: downloaded files %q, expected one", d.Name, found)
	}
	log.Info("unpacking " + d.Name)
	return do(ctx, found[0], dir)
}

func download(ctx context.Context, debs []deb, dir string, log hclog.Logger) error {
	// As root apt would change to a user who may not write here.
	args := []string{"download", "-qq", "-o", "APT::Sandbox::User=root"}
	for _, d := range debs {
		log.Info(fmt.Sprintf("downloading %s %s (%.0f MB)", d.Name, d.Version, float64(d.Size)/1e6))
		args = append(args, d.Name+"="+d.Version)
	}
	if _, err := run(ctx, dir, "apt-get", args...); err != nil {
		return fmt.Errorf("download kernel packages: %w", err)
	}
	return nil
}

// unpackImage takes the kernel and the drivers. Files are numbered so that their names sort as they load.
func unpackImage(ctx context.Context, deb, dir string) error {
	names := drivers()
	err := unpack(ctx, deb, func(name string) (string, bool) {
		base := path.Base(name)
		if strings.HasPrefix(base, "vmlinuz-") {
			return filepath.Join(dir, "vmlinuz"), false
		}
		driver, suffix, _ := strings.Cut(base, ".ko")
		if i := slices.Index(names, strings.ReplaceAll(driver, "-", "_")); i >= 0 {
			return filepath.Join(dir, "drivers", fmt.Sprintf("%02d-%s.ko%s", i, driver, suffix)), false
		}
		return "", false
	})
	if err != nil {
		return err
	}
	packed, err := filepath.Glob(filepath.Join(dir, "drivers", "*.ko.xz"))
	if err != nil || len(packed) == 0 {
		return err
	}
	_, err = run(ctx, "", "xz", append([]string{"-d"}, packed...)...)
	return err
}

func unpackDebug(ctx context.Context, deb, dir string) error {
	to := filepath.Join(dir, "vmlinux")
	err := unpack(ctx, deb, func(name string) (string, bool) {
		if strings.HasPrefix(path.Base(name), "vmlinux-") || path.Base(name) == "vmlinux" {
			return to, true
		}
		return "", false
	})
	if err == nil && !exists(to) {
		err = fmt.Errorf("%s holds no vmlinux", deb)
	}
	return err
}

func unpackHeaders(ctx context.Context, deb, dir string) error {
	_, err := run(ctx, "", "dpkg-deb", "-x", deb, filepath.Join(dir, "headers"))
	return err
}

// relocate makes the headers, which name the directory they are meant to be installed in, work in home.
func relocate(p *packages, dir, home string) error {
	makefile := filepath.Join(dir, headersOf(p.Kernel), "Makefile")
	text, err := os.ReadFile(makefile)
	if err != nil {
		return fmt.Errorf("move headers: %w", err)
	}
	include := regexp.MustCompile(`(?m)^include /usr/src/`)
	if !include.Match(text) {
		return errors.New("move headers: " + makefile + " includes no file in /usr/src: Debian has changed its layout")
	}
	moved := include.ReplaceAllLiteralString(string(text), "include "+home+"/headers/usr/src/")
	if err := os.WriteFile(makefile, []byte(moved), 0o644); err != nil {
		return fmt.Errorf("move headers: %w", err)
	}
	return nil
}

// headersOf is where a kernel directory keeps what modules are built against.
func headersOf(kernel string) string {
	return filepath.Join("headers/usr/src", "linux-headers-"+kernel)
}
