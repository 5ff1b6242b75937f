// Package kept stores files that were made once for the next run, in the user's cache. Each is
// stored with a checksum and a description. The store has a limit; the files that were not used for
// the longest time are removed first.
package kept

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/internal/regular"
)

// DefaultLimit bounds the store, in bytes.
const DefaultLimit = 2 << 30

// Kind is a directory of the store. The number in its name changes when files of older versions
// cannot be used any more.
type Kind string

// The kinds of files.
const (
	Kernels Kind = "kernels-6" // made of a kernel's memory
	Modules Kind = "modules-2" // copies of module files that gdb can load
)

// kinds are all that this version uses.
var kinds = []Kind{Kernels, Modules}

// Store is the directory of the user's cache that belongs to physgdb.
type Store struct {
	// Dir is its path. It may not exist yet.
	Dir string
	// Limit bounds the sizes of all files together, in bytes.
	Limit int64
}

// Open returns the store in the user's cache directory ([os.UserCacheDir]). A limit of 0 means
// [DefaultLimit].
func Open(limit int64) (*Store, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return &Store{Dir: filepath.Join(cache, "physgdb"), Limit: cmp.Or(limit, DefaultLimit)}, nil
}

// Entry is a file of the store.
type Entry struct {
	Kind Kind
	// Path is where the file is.
	Path string
	// Size is that of the file, in bytes.
	Size int64
	// Used is when the file was last used.
	Used time.Time
	// About is the description, in JSON.
	About json.RawMessage

	sum uint32
}

// description is the file with the suffix aboutSuffix that each file of the store has.
type description struct {
	Size  int64           `json:"size"`   // bytes
	CRC   uint32          `json:"crc32c"` // of the content; Castagnoli
	About json.RawMessage `json:"about,omitempty"`
}

const (
	aboutSuffix = ".json"
	newPrefix   = ".new-" // of files that are being written
	// mostDescription bounds a description, in bytes. Those of kernels have their ELF notes, some 1
	// KiB.
	mostDescription = 1 << 20
	// staleAfter is the age at which a file that is being written has been left by a process that
	// was killed.
	staleAfter = time.Hour
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entries returns the files of some kinds, all if none is named, the last used first. Those without
// a usable description are left out.
func (s *Store) Entries(of ...Kind) []Entry {
	if len(of) == 0 {
		of = kinds
	}
	var all []Entry
	for _, kind := range of {
		found, _ := filepath.Glob(filepath.Join(s.Dir, string(kind), "*", "*"+aboutSuffix)) // the pattern is well formed
		for _, path := range found {
			if e, err := readEntry(kind, strings.TrimSuffix(path, aboutSuffix)); err == nil {
				all = append(all, *e)
			}
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return b.Used.Compare(a.Used) })
	return all
}

// Get returns a stored file. The names are those of [Store.Put].
func (s *Store) Get(kind Kind, key, name string) (*Entry, error) {
	return readEntry(kind, filepath.Join(s.Dir, string(kind), key, name))
}

func readEntry(kind Kind, path string) (*Entry, error) {
	f, err := regular.Open(path + aboutSuffix)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, mostDescription))
	if err != nil {
		return nil, err
	}
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", path+aboutSuffix, err)
	}
	return &Entry{Kind: kind, Path: path, Size: d.Size, Used: info.ModTime(), About: d.About, sum: d.CRC}, nil
}

// Use checks that the file has the content that was stored, notes that it was used, and keeps it
// from being removed until release is called or the process ends.
func (e *Entry) Use() (release func(), err error) {
	f, err := regular.Open(e.Path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is being removed: %w", e.Path, err)
	}
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, f)
	if err == nil && (size != e.Size || sum.Sum32() != e.sum) {
		err = fmt.Errorf("%s is damaged: its content has changed", e.Path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	// The time is that of the description: debuggers take a file whose own time changes for another
	// one.
	now := time.Now()
	_ = os.Chtimes(e.Path+aboutSuffix, now, now) // a store that cannot be written is used as it is
	return func() { f.Close() }, nil
}

// Put stores a file as DIR/KIND/key/name, with a description that is marshalled to JSON, and makes
// room for it. Both names must be fit for files. A file that is stored already with the same
// content stays: debuggers may be reading it. An error leaves the store as it was.
func (s *Store) Put(kind Kind, key, name string, content io.ReadSeeker, about any) (*Entry, error) {
	dir := filepath.Join(s.Dir, string(kind), key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s.removeStale()
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, content)
	if err != nil {
		return nil, err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	if text, err = json.Marshal(description{size, sum.Sum32(), text}); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if old, err := readEntry(kind, path); err == nil && old.Size == size && old.sum == sum.Sum32() {
		if release, err := old.Use(); err == nil {
			release()
			return old, nil
		}
	}
	// The description is last: without its own, a file does not count.
	if err := cmp.Or(replaceFile(path, content), replaceFile(path+aboutSuffix, bytes.NewReader(text))); err != nil {
		return nil, err
	}
	s.shrink(path)
	return readEntry(kind, path)
}

// lock keeps other processes from storing files until unlock is called.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// shrink removes what was not used for the longest time until the store is within its limit. A file
// that is in use stays.
func (s *Store) shrink(except string) {
	all := s.Entries()
	var total int64
	for _, e := range all {
		total += e.Size
	}
	for _, e := range slices.Backward(all) {
		if total <= s.Limit {
			return
		}
		if e.Path != except && e.remove() == nil {
			total -= e.Size
		}
	}
}

// remove removes a file of the store, unless it is in use.
func (e *Entry) remove() error {
	f, err := regular.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use: %w", e.Path, err)
	}
	if err := cmp.Or(os.Remove(e.Path+aboutSuffix), os.Remove(e.Path)); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(e.Path)) // which other files may be in
	return nil
}

// removeStale removes what killed processes and older versions left.
func (s *Store) removeStale() {
	for _, pattern := range []string{"kernels*", "modules*"} {
		dirs, _ := filepath.Glob(filepath.Join(s.Dir, pattern)) // the pattern is well formed
		for _, dir := range dirs {
			if !slices.Contains(kinds, Kind(filepath.Base(dir))) {
				_ = os.RemoveAll(dir) // what cannot be removed does no harm
			}
		}
	}
	for _, kind := range kinds {
		files, _ := filepath.Glob(filepath.Join(s.Dir, string(kind), "*", "*"))
		for _, path := range files {
			info, err := os.Lstat(path)
			if err == nil && time.Since(info.ModTime()) > staleAfter && !isWhole(kind, path) {
				_ = os.Remove(path)
			}
		}
	}
}

// isWhole reports whether a file is stored, or is the description of one.
func isWhole(kind Kind, path string) bool {
	_, err := readEntry(kind, strings.TrimSuffix(path, aboutSuffix))
	return err == nil
}

// Clear removes every file that is not in use, and what is left of older versions. It returns how
// many files and bytes it removed. The error is about the first that could not be removed.
func (s *Store) Clear() (files int, size int64, err error) {
	s.removeStale()
	for _, e := range s.Entries() {
		if wrong := e.remove(); wrong != nil {
			err = cmp.Or(err, wrong)
			continue
		}
		files++
		size += e.Size
	}
	return files, size, err
}

// WriteFile writes a file so that others see nothing or all of it, also after a loss of power. Only
// the user can read it. What is there and is no regular file, such as /dev/null or a FIFO, is
// written to and not replaced.
func WriteFile(path string, content io.Reader) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return writeInto(path, content)
	}
	return replaceFile(path, content)
}

// replaceFile is WriteFile that replaces what is there: a FIFO in the store would block its writer.
func replaceFile(path string, content io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix) // mode 0600
	if err != nil {
		return writeError(path, err)
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return writeError(path, err)
	}
	return os.Rename(f.Name(), path)
}

func writeInto(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return writeError(path, err)
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// writeError leaves out the name of the file that is being written: the user knows the other.
func writeError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("write %s: %w", path, err)
}
