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

// drivers returns the modules for the guest's network card, in the order in which they are loaded.
// Built-in ones are not files of the kernel's package.
func drivers() []string {
	return []string{
		"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
		"failover", "net_failover", "dimlib", "virtio_net",
	}
}

// fetch downloads the packages of a kernel except the one with debug information, and extracts the
// needed files into dir. The directory is then renamed to home.
func (c *chooser) fetch(ctx context.Context, p *packages, dir, home string) error {
	if err := c.fetchPackages(ctx, p.booted(), dir, unpackImage); err != nil {
		return err
	}
	if !exists(filepath.Join(dir, "vmlinuz")) {
		return fmt.Errorf("package %s: no vmlinuz", p.Image.Name)
	}
	if len(p.Headers) == 0 {
		return nil
	}
	return c.fetchHeaders(ctx, p, dir, home)
}

// fetchHeaders is fetch for the headers alone.
func (c *chooser) fetchHeaders(ctx context.Context, p *packages, dir, home string) error {
	if err := c.fetchPackages(ctx, p.Headers, dir, unpackHeaders); err != nil {
		return err
	}
	return relocate(p, dir, home)
}

// fetchPackages downloads packages and unpacks them into dir.
func (c *chooser) fetchPackages(ctx context.Context, list []deb, dir string, unpack unpacker) error {
	debs := filepath.Join(dir, "debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return fmt.Errorf("fetch packages: %w", err)
	}
	if err := c.archive.download(ctx, list, debs, c.log); err != nil {
		return err
	}
	for _, d := range list {
		if err := unpackAs(ctx, d, debs, dir, unpack, c.log); err != nil {
			return err
		}
	}
	return os.RemoveAll(debs)
}

// fetchDebug downloads the package with debug information and creates the vmlinux atomically.
func (c *chooser) fetchDebug(ctx context.Context, p *packages) error {
	return createFile(c.vmlinux(p), func(dir string) error {
		if err := c.archive.download(ctx, []deb{p.Debug}, dir, c.log); err != nil {
			return err
		}
		return unpackAs(ctx, p.Debug, dir, dir, unpackDebug, c.log)
	})
}

// unpacker extracts the needed files of a package into dir.
type unpacker func(ctx context.Context, deb, dir string) error

// unpackAs extracts the needed files of one of the packages in debs.
func unpackAs(ctx context.Context, d deb, debs, dir string, do unpacker, log hclog.Logger) error {
	found, err := filepath.Glob(filepath.Join(debs, d.Name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("package %s: downloaded files %q, expected one", d.Name, found)
	}
	log.Info("unpacking " + d.Name)
	return do(ctx, found[0], dir)
}

// unpackImage extracts the kernel and the drivers. Files are numbered in the order in which they
// are loaded.
func unpackImage(ctx context.Context, deb, dir string) error {
	names := drivers()
	err := unpack(ctx, deb, func(name string) (string, bool) {
		base := path.Base(name)
		if base == "vmlinuz" || strings.HasPrefix(base, "vmlinuz-") {
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
	for suffix, decompress := range map[string][]string{".xz": {"xz", "-d"}, ".zst": {"zstd", "-d", "-q", "--rm"}} {
		packed, err := filepath.Glob(filepath.Join(dir, "drivers", "*.ko"+suffix))
		if err != nil || len(packed) == 0 {
			continue // the pattern is valid
		}
		if _, err := run(ctx, "", decompress[0], append(decompress[1:], packed...)...); err != nil {
			return err
		}
	}
	return nil
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

// relocate replaces the installation directory in the headers' files by home.
func relocate(p *packages, dir, home string) error {
	makefile := filepath.Join(dir, headersOf(p.Kernel), "Makefile")
	text, err := os.ReadFile(makefile)
	if err != nil {
		return fmt.Errorf("move headers: %w", err)
	}
	place := regexp.MustCompile(`(?m)^(include |KBUILD_OUTPUT=)/usr/src/`)
	if !place.Match(text) {
		return errors.New("move headers: " + makefile + " includes no file in /usr/src: Debian has changed its layout")
	}
	moved := place.ReplaceAllString(string(text), "${1}"+strings.ReplaceAll(home, "$", "$$")+"/headers/usr/src/")
	if err := os.WriteFile(makefile, []byte(moved), 0o644); err != nil {
		return fmt.Errorf("move headers: %w", err)
	}
	return nil
}

// headersOf returns the headers for modules in a kernel's directory.
func headersOf(kernel string) string {
	return filepath.Join("headers/usr/src", "linux-headers-"+kernel)
}
