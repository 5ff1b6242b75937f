package entry

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stdio is what was stdin and stdout, as a connection to the one client on their other side. gdb
// makes such a client with `target remote | COMMAND`, of a socket; ssh passes it on, as two pipes.
type Stdio struct{ in, out *os.File }

// TakeStdio takes stdin and stdout away from the process: from then on it reads nothing there, and
// what it prints goes to stderr, so that not a byte gets onto the wire that is not the protocol's.
func TakeStdio() (*Stdio, error) {
	if isTerminal(0) || isTerminal(1) {
		return nil, errors.New("stdio is for a debugger that starts physgdb itself, and this is a terminal; " +
			"type into gdb: target remote | physgdb serve --listen stdio SOURCE (over ssh, without -t)")
	}
	in, err := take(0, "stdin")
	if err != nil {
		return nil, err
	}
	out, err := take(1, "stdout")
	if err != nil {
		in.Close()
		return nil, err
	}
	s := &Stdio{in: in, out: out}
	if err := replaceStdio(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// take returns a new file for what a descriptor refers to. It is non-blocking, so that deadlines
// and Close end a read or write under way, where the kernel can wait for such a thing at all: not
// for a file on a disk.
func take(fd int, name string) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(own, true)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(own), name), nil
}

// replaceStdio makes /dev/null of descriptor 0, and stderr of 1.
func replaceStdio() error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	return errors.Join(unix.Dup3(int(null.Fd()), 0, 0), unix.Dup3(2, 1, 0))
}

// Read reads what the client sends. The error is io.EOF when the client has gone.
func (s *Stdio) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write sends p to the client.
func (s *Stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close ends the connection, and a Read or Write under way.
func (s *Stdio) Close() error { return errors.Join(s.in.Close(), s.out.Close()) }

// LocalAddr returns an address that is called stdio, as RemoteAddr does.
func (s *Stdio) LocalAddr() net.Addr { return stdioAddr{} }

// RemoteAddr returns an address that is called stdio.
func (s *Stdio) RemoteAddr() net.Addr { return stdioAddr{} }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (s *Stdio) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline limits reads, except from a file on a disk, which never wait.
func (s *Stdio) SetReadDeadline(t time.Time) error { return wherePossible(s.in.SetReadDeadline(t)) }

// SetWriteDeadline limits writes, except to a file on a disk, which never wait.
func (s *Stdio) SetWriteDeadline(t time.Time) error { return wherePossible(s.out.SetWriteDeadline(t)) }

func wherePossible(err error) error {
	if errors.Is(err, os.ErrNoDeadline) {
		return nil
	}
	return err
}

// stdioAddr is the address of both ends.
type stdioAddr struct{}

func (stdioAddr) Network() string { return stdio }
func (stdioAddr) String() string  { return stdio }

// pace is the interval of the acknowledgements that keep a client waiting: well below gdb's
// remotetimeout of 2 s.
const pace = 500 * time.Millisecond

// KeepWaiting is for the time until the client's first packet can be answered. gdb waits 6 s, and
// then gives up; but each byte restarts its timer, and a superfluous acknowledgement (gdb manual,
// appendix E.11) means nothing. Call the function returned before the first answer.
//
// gone is called if the client goes away meanwhile.
func (s *Stdio) KeepWaiting(gone func()) (stop func()) {
	var waiter sync.WaitGroup
	done := make(chan struct{})
	waiter.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if _, err := s.Write([]byte{'+'}); err != nil {
				gone()
				return
			}
		}
	})
	return func() {
		close(done)
		waiter.Wait()
	}
}
