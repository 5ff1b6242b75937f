package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// aptState is a set of package lists that apt answers from.
type aptState struct {
	name    string
	lists   string   // the directory of the lists
	options []string // of apt's programs, to use these lists
	// complete requires a kernel's debug and header packages: a kernel without them is still being
	// published.
	complete bool
	// maxAge is the age at which lists are refreshed; 0 for lists that are refreshed by others.
	maxAge time.Duration
	// prepare, if set, makes apt's files before an update.
	prepare func(ctx context.Context) error
}

// ownArchive returns the archive of the machine's own configuration. Its kernels match the
// computer's compiler.
func ownArchive() *aptState {
	return &aptState{name: "own", lists: "/var/lib/apt/lists", complete: true}
}

// suitesArchive returns the archive of the further suites of Debian that have kernels of other
// ages. All files of apt are in a directory of their own in the cache.
func suitesArchive(cache string) *aptState {
	dir := filepath.Join(cache, "apt")
	a := &aptState{name: "suites", lists: filepath.Join(dir, "lists"), maxAge: 7 * 24 * time.Hour}
	sources := filepath.Join(dir, "sources.list")
	a.options = []string{
		"-oDir::State::Lists=" + a.lists, "-oDir::Cache=" + filepath.Join(dir, "cache"),
		"-oDir::Etc::sourcelist=" + sources, "-oDir::Etc::sourceparts=-",
		"-oAcquire::Languages=none", "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-oAPT::Sandbox::User=root", // another user could not write here
	}
	a.prepare = func(ctx context.Context) error {
		for _, d := range []string{"lists/partial", "cache/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				return fmt.Errorf("create the directory of package lists: %w", err)
			}
		}
		return writeSources(ctx, sources)
	}
	return a
}

// archives returns the archives that may have a series, in the order of preference. kept is the
// earlier choice, or nil.
func archives(cache, series string, kept *choice) []*aptState {
	own, suites := ownArchive(), suitesArchive(cache)
	switch {
	case series != "6.1" && series != "6.12":
		return []*aptState{suites}
	case kept != nil && kept.Archive == suites.name:
		return []*aptState{suites, own}
	}
	return []*aptState{own, suites}
}

// suites returns the suites with kernels for the tests, by the name of their repository.
func suites() map[string][]string {
	return map[string][]string{
		"debian":          {"bullseye", "trixie", "trixie-backports", "forky", "sid", "experimental"},
		"debian-security": {"bullseye-security"},
	}
}

// debianKeyring is the file with the archive's keys in Debian's package debian-archive-keyring.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// writeSources writes a sources.list of the suites with the archive's addresses in the computer's
// own apt configuration.
func writeSources(ctx context.Context, file string) error {
	out, err := run(ctx, "", "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return err
	}
	options := "arch=amd64"
	if exists(debianKeyring) {
		options += " signed-by=" + debianKeyring
	}
	var lines strings.Builder
	for name, uri := range repositories(out) {
		for _, suite := range suites()[name] {
			fmt.Fprintf(&lines, "deb [%s] %s %s main\n", options, uri, suite)
		}
	}
	if lines.Len() == 0 {
		return errors.New("no repository of Debian in apt's configuration")
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
		return fmt.Errorf("write apt's sources: %w", err)
	}
	return nil
}

// repositories returns Debian's repositories in a list of addresses, by the last element of their
// paths.
func repositories(list string) map[string]string {
	found := map[string]string{}
	for _, uri := range strings.Fields(list) {
		u, err := url.Parse(uri)
		if err != nil {
			continue
		}
		if name := path.Base(u.Path); suites()[name] != nil && found[name] == "" {
			found[name] = uri
		}
	}
	return found
}

// cache runs apt-cache with this archive's lists.
func (a *aptState) cache(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "", "apt-cache", append(append([]string{}, a.options...), args...)...)
}

// download fetches packages into a directory.
func (a *aptState) download(ctx context.Context, debs []deb, dir string, log hclog.Logger) error {
	// As root, apt would switch to a user that may not write here.
	args := append([]string{"download", "-qq", "-o", "APT::Sandbox::User=root"}, a.options...)
	for _, d := range debs {
		log.Info(fmt.Sprintf("downloading %s %s (%.0f MB)", d.Name, d.Version, float64(d.Size)/1e6))
		args = append(args, d.Name+"="+d.Version)
	}
	if _, err := run(ctx, dir, "apt-get", args...); err != nil {
		return fmt.Errorf("download kernel packages: %w", err)
	}
	return nil
}

// update updates the lists.
func (a *aptState) update(ctx context.Context) error {
	if a.prepare != nil {
		if err := a.prepare(ctx); err != nil {
			return err
		}
	}
	args := append([]string{"apt-get", "update", "-qq"}, a.options...)
	if a.prepare == nil && unix.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	if _, err := run(ctx, "", args[0], args[1:]...); err != nil {
		return fmt.Errorf("%w; try apt-get update as root", err)
	}
	if a.maxAge == 0 {
		return nil
	}
	return os.WriteFile(a.updated(), nil, 0o644)
}

// stamp returns a hash of names, sizes and times of the lists, which change with every update that
// changes a list. It is "" if there are no lists.
func (a *aptState) stamp() (string, error) {
	entries, err := os.ReadDir(a.lists)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read apt's lists: %w; kernels come from Debian's archive, by apt", err)
	}
	sum := sha256.New()
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || entry.Name() == "lock" {
			continue
		}
		fmt.Fprintln(sum, entry.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// stale reports whether the lists are missing or too old.
func (a *aptState) stale() bool {
	if a.maxAge == 0 {
		return false
	}
	info, err := os.Stat(a.updated())
	return err != nil || time.Since(info.ModTime()) > a.maxAge
}

// updated is the file whose time is that of the last update.
func (a *aptState) updated() string { return filepath.Join(filepath.Dir(a.lists), "updated") }
