package entry

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listenUnix makes a Unix socket that is its owner's alone. It replaces one that a program which
// died has left.
func listenUnix(path string) (net.Listener, error) {
	l, err := bindUnix(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = bindUnix(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("listen on %s: there is no directory %s; make it, or choose another path", path,
			filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w; choose another path", path, cause(err))
	}
	return l, nil
}

// bindUnix makes the socket with mode 0600 from its first moment on: bind(2) applies the umask.
// That is the whole process's, but no other goroutine makes files at that time that others should
// be able to use.
func bindUnix(path string) (net.Listener, error) {
	before := syscall.Umask(0o177)
	defer syscall.Umask(before)
	return net.Listen("unix", path)
}

// removeStale removes a socket without a listener, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it is gone already
	case err != nil:
		return fmt.Errorf("listen on %s: %w; choose another path", path, cause(err))
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen on %s: the file exists and is not a socket; choose another path, or remove it", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("another program listens on %s; choose another path", path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("listen on %s: that socket seems to be in use (%w); choose another path", path, cause(err))
	}
	return os.Remove(path)
}

// Private is a Unix socket in a directory of its own that only this user can enter.
type Private struct {
	net.Listener
	dir string
}

// ListenPrivately makes a Private. Closing it removes the directory, too.
func ListenPrivately() (*Private, error) {
	dir, err := os.MkdirTemp("", "physgdb-")
	if err != nil {
		return nil, fmt.Errorf("a socket for the debugger: %w; set TMPDIR to a directory that can be written", err)
	}
	address, err := parseUnix(filepath.Join(dir, "gdb"))
	if err == nil {
		var l net.Listener
		if l, err = address.Listen(); err == nil {
			return &Private{Listener: l, dir: dir}, nil
		}
	}
	os.RemoveAll(dir)
	return nil, fmt.Errorf("a socket for the debugger: %w; TMPDIR sets its directory", err)
}

// Path returns the path of the socket.
func (p *Private) Path() string { return p.Addr().String() }

// Close ends listening and removes the socket and its directory. It may be called more than once.
func (p *Private) Close() error {
	err := p.Listener.Close()
	return errors.Join(err, os.RemoveAll(p.dir))
}
