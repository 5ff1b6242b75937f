// Package debuginfo finds the files with the debug information of a kernel and of its modules by
// their build-ids: on this computer, and by debuginfod.
package debuginfo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"physgdb/internal/plain"
	"physgdb/symbols/elffile"
)

// ErrNotFound says that a file with debug information was not found, or only ones that will not do.
var ErrNotFound = errors.New("no file with its debug information was found")

// Places are the places of a kernel's debug information, besides the usual ones on this computer.
// See [FromEnvironment] for the environment variables.
type Places struct {
	// Dirs are searched before /usr/lib/debug, and each like it.
	Dirs []string
	// Servers are the URLs of debuginfod servers, asked in this order when no file of this machine
	// will do.
	Servers []string
	// Cache is the directory where the clients of debuginfod keep what they got, gdb's among them.
	// If it is "" there is none, and no server is asked.
	Cache string
	// Timeout is how long a server may take to begin with a file, and then for every 100 kB; 10 s
	// if it is 0, for ever if it is negative.
	Timeout time.Duration
	// Progress, unless it is nil, is called during a download with the number of bytes so far and
	// the total, -1 if the server does not send it. It is called for every 100 kB.
	Progress func(done, total int64)

	root string // replaces / in tests
}

// debugTree is the directory where distributions keep debug information (gdb manual, "Separate
// Debug Files").
const debugTree = "/usr/lib/debug"

// inDebugTree is where packages put a vmlinux below debugTree; %s is the release.
var inDebugTree = []string{
	"boot/vmlinux-%s",                  // Debian, Ubuntu
	"boot/vmlinux-%s.debug",            // SUSE
	"lib/modules/%s/vmlinux",           // Fedora, RHEL; Debian by a link
	"lib/modules/%s/vmlinux.debug",     // SUSE, where /boot has but links
	"usr/lib/modules/%s/vmlinux",       // Fedora, RHEL and their kin with one /usr
	"usr/lib/modules/%s/vmlinux.debug", // openSUSE with one /usr
	"usr/lib/modules/%s/build/vmlinux", // Arch, whose headers hold the vmlinux
	"usr/lib/modules/%s/build/vmlinux.debug",
	"vmlinux-%s", // Debian by a link; what people name it by hand
}

// onMachine is where a vmlinux lies that was built or installed here, with or without debug
// information.
var onMachine = []string{
	"/boot/vmlinux-%s",
	"/lib/modules/%s/build/vmlinux", // the tree that the kernel was built in
	"/usr/lib/modules/%s/build/vmlinux",
	"/lib/modules/%s/vmlinux",
	"/lib/modules/%s/vmlinux.debug", // of make rpm-pkg
}

// BuildIDFile returns where the file with the debug information of a build lies in a directory such
// as /usr/lib/debug (gdb manual, "Separate Debug Files"). A build-id has two bytes at least.
func BuildIDFile(dir string, buildID []byte) string {
	return filepath.Join(dir, ".build-id", hex.EncodeToString(buildID[:1]), hex.EncodeToString(buildID[1:])+".debug")
}

// Vmlinux returns the path of a file with the symbols and the debug information (DWARF) of the
// kernel of a build. A file with symbols and types alone (BTF) is passed over: the kernel's memory
// holds those itself.
//
// The release, as printed by uname -r, selects directories; it may be wrong. The error is
// ErrNotFound with what was wrong with the files that there are, in one line, or the context's.
func (d *Places) Vmlinux(ctx context.Context, buildID []byte, release string) (string, error) {
	if !elffile.ValidBuildID(buildID) {
		return "", fmt.Errorf("kernel %q: %w: its build-id is not known, so that no file can be verified",
			release, ErrNotFound)
	}
	s := &search{id: buildID}
	for _, path := range d.vmlinuxes(buildID, release) {
		if s.fits(path) {
			return path, nil
		}
	}
	if path, ok := d.download(ctx, s); ok {
		return path, nil
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("kernel %q: look for its debug information: %w", release, context.Cause(ctx))
	}
	return "", d.notFound(release, s)
}

// OfRelease returns the files of this machine that may be the vmlinux of a release, by their names
// alone: they can be of any build, and need not have debug information.
func (d *Places) OfRelease(release string) []string {
	return slices.DeleteFunc(d.vmlinuxes(nil, release), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.Mode().IsRegular()
	})
}

// vmlinuxes lists where the vmlinux may be. The build-id may be nil.
func (d *Places) vmlinuxes(buildID []byte, release string) []string {
	var paths []string
	for _, dir := range d.trees() {
		if buildID != nil {
			paths = append(paths, BuildIDFile(dir, buildID))
		}
		for _, place := range inDebugTree {
			paths = appendPlace(paths, filepath.Join(dir, place), release)
		}
		paths = append(paths, filepath.Join(dir, "vmlinux"))
	}
	for _, place := range onMachine {
		paths = appendPlace(paths, d.root+place, release)
	}
	return paths
}

func (d *Places) trees() []string { return append(slices.Clone(d.Dirs), d.root+debugTree) }

// appendPlace adds a place to paths if the release, which comes out of a damaged memory, is a plain
// name.
func appendPlace(paths []string, place, release string) []string {
	if !plain.IsName(release) {
		return paths
	}
	dir, name := filepath.Split(place)
	return append(paths, strings.ReplaceAll(dir, "%s", release)+strings.ReplaceAll(name, "%s", release))
}

func (d *Places) notFound(release string, s *search) error {
	tried := s.refused
	if len(tried) == 0 {
		tried = []string{"there is no vmlinux in " + strings.Join(d.trees(), ", ") + ", /boot or /lib/modules"}
	}
	switch {
	case len(d.Servers) == 0:
		tried = append(tried, "DEBUGINFOD_URLS names no server to ask")
	case d.Cache == "":
		tried = append(tried, "no server was asked, as there is no directory to keep a file (DEBUGINFOD_CACHE_PATH)")
	}
	return fmt.Errorf("kernel %q: %w: %s", release, ErrNotFound, strings.Join(tried, "; "))
}

// search is one search, with why it has not found anything.
type search struct {
	id      []byte
	seen    []fs.FileInfo // a file has several names
	refused []string
}

func (s *search) refuse(format string, args ...any) {
	s.refused = append(s.refused, fmt.Sprintf(format, args...))
}

// fits reports whether a file is there, and the one that is wanted.
func (s *search) fits(path string) bool {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		s.refuse("%v", err)
		return false
	}
	if slices.ContainsFunc(s.seen, func(other fs.FileInfo) bool { return os.SameFile(info, other) }) {
		return false
	}
	s.seen = append(s.seen, info)
	if err := checkVmlinux(path, s.id); err != nil {
		s.refuse("%v", err)
		return false
	}
	return true
}
