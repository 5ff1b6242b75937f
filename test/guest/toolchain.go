package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// toolchain names the compiler that the headers of a kernel require, and the suite of Debian that
// has it. The programs of kbuild, which are part of the headers, need the C library of the same
// suite.
type toolchain struct {
	Suite    string   // e.g. "trixie"
	Compiler string   // e.g. "gcc-14"
	Libs     []string // that the programs of kbuild are linked against
}

func (t *toolchain) known() bool { return t.Suite != "" && t.Compiler != "" }

// name is that of the toolchain's directory in the cache.
func (t *toolchain) name() string { return "toolchain-" + t.Suite + "-" + t.Compiler }

// packages returns the packages of a toolchain: the compiler, the programs that kbuild runs, and
// libraries.
func (t *toolchain) packages() []string {
	return append([]string{t.Compiler, "make", "bash", "coreutils", "findutils", "grep", "mawk", "sed"}, t.Libs...)
}

// shell returns the links between commands that the scripts of Debian's packages would create.
func shell() map[string]string { return map[string]string{"bin/sh": "bash", "usr/bin/awk": "mawk"} }

// findToolchain returns the toolchain for modules with the headers of a flavour, given all packages
// of headers.
func (a *aptState) findToolchain(ctx context.Context, headers []deb) (toolchain, error) {
	out, err := a.cache(ctx, "madison", headers[0].Name)
	if err != nil {
		return toolchain{}, err
	}
	t := toolchain{Suite: suiteOf(out, headers[0].Version)}
	for _, d := range headers {
		if m := regexp.MustCompile(`\bgcc-\d+`).FindString(d.depends); m != "" {
			t.Compiler = m
		}
		if strings.HasPrefix(d.Name, "linux-kbuild-") {
			t.Libs = regexp.MustCompile(`\b(?:lib|zlib)[a-z0-9.]+`).FindAllString(d.depends, -1)
		}
	}
	if !t.known() {
		return toolchain{}, fmt.Errorf("no suite or compiler found for %s %s", headers[0].Name, headers[0].Version)
	}
	return t, nil
}

// suiteOf returns the suite of the compiler for a package from the output of apt-cache madison:
// lines of "name | version | address suite/component architecture Packages". Updates of a suite are
// built with its compiler.
func suiteOf(madison, version string) string {
	for line := range strings.Lines(madison) {
		column := strings.Split(line, "|")
		if len(column) != 3 || strings.TrimSpace(column[1]) != version {
			continue
		}
		place := strings.Fields(column[2])
		if len(place) < 2 {
			continue
		}
		suite, _, _ := strings.Cut(place[1], "/")
		suite, _, _ = strings.Cut(suite, "-")
		if suite == "experimental" {
			return "sid"
		}
		return suite
	}
	return ""
}

// buildRoot returns a directory that looks like a small Debian system with the compiler for the
// kernel in home, and that has the headers at the path that they have outside it. It is "" if the
// computer's own compiler matches the kernel.
func (c *chooser) buildRoot(ctx context.Context, p *packages, home string) (string, error) {
	if c.archive.complete {
		return "", nil
	}
	root := filepath.Join(home, "root")
	if exists(root) {
		return root, nil
	}
	tools, err := c.toolchain(ctx, &p.Toolchain)
	if err != nil {
		return "", fmt.Errorf("make a toolchain for %s: %w", p.Kernel, err)
	}
	err = create(root, func(dir string) error {
		inside := filepath.Join(dir, home)
		if err := os.MkdirAll(inside, 0o755); err != nil {
			return err
		}
		// Links take no space.
		if _, err := run(ctx, "", "cp", "-al", tools+"/.", dir); err != nil {
			return err
		}
		_, err := run(ctx, "", "cp", "-al", filepath.Join(home, "headers"), inside)
		return err
	})
	return root, err
}

// toolchain returns the directory of a toolchain, and creates it if it is not in the cache.
func (c *chooser) toolchain(ctx context.Context, t *toolchain) (string, error) {
	home := filepath.Join(c.cache, t.name())
	unlock, err := lock(ctx, home+".lock", c.log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(home) {
		return home, nil
	}
	return home, createPart(home, "root", func(dir string) error {
		if err := c.archive.downloadAll(ctx, t, dir, c.log); err != nil {
			return err
		}
		return unpackToolchain(ctx, dir, filepath.Join(dir, "root"))
	})
}

// downloadAll downloads the packages of a toolchain with all dependencies, as if nothing were
// installed.
func (a *aptState) downloadAll(ctx context.Context, t *toolchain, dir string, log hclog.Logger) error {
	status := filepath.Join(dir, "status")
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	log.Info("downloading "+t.Compiler+" and what it needs (60 MB)", "suite", t.Suite)
	args := append([]string{"install", "-qq", "-y", "--download-only", "--no-install-recommends"}, a.options...)
	args = append(args, "-oAPT::Sandbox::User=root", "-oAPT::Default-Release="+t.Suite, "-oDir::State::status="+status,
		"-oDir::Cache::archives="+dir, "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=",
		"-oDebug::NoLocking=true") // its files are ours alone
	_, err := run(ctx, dir, "apt-get", append(args, t.packages()...)...)
	return err
}

// unpackToolchain unpacks the packages in debs into a root directory.
func unpackToolchain(ctx context.Context, debs, root string) error {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return err
		}
		// Suites before bookworm have directories here, and replace the links.
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	packages, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(packages) == 0 {
		return errors.New("no packages were downloaded")
	}
	for _, deb := range packages {
		if _, err := run(ctx, "", "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	for link, to := range shell() {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, dir := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(root, "usr/share"))
}

// enter is the script that runs a command in a root directory. Its arguments are the root, the
// working directory, and the command. Scripts of kbuild use /dev/null, and objtool of 7.2 reads
// /proc/self/maps.
const enter = `set -e
root=$1 dir=$2
shift 2
for d in dev proc; do mount --rbind /$d "$root/$d"; done
exec chroot "$root" /usr/bin/env -i -C "$dir" PATH=/usr/bin:/bin "$@"`

// makeIn runs make in a directory, whose path is that inside root. A root of "" is the computer
// itself.
func makeIn(ctx context.Context, root, dir string, args ...string) error {
	if root == "" {
		_, err := run(ctx, dir, "make", args...)
		return err
	}
	mount := []string{"--mount"}
	if unix.Geteuid() != 0 {
		mount = append(mount, "--map-root-user")
	}
	args = append(append(mount, "sh", "-c", enter, "sh", root, dir, "make"), args...)
	_, err := output(ctx, exec.CommandContext(ctx, "unshare", args...), "")
	return err
}
