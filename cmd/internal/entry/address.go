// Package entry is how debuggers get in: addresses to listen on, and stdin and stdout for one
// debugger that started us.
package entry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Address is where debuggers come in.
type Address struct {
	network string // as in package net, or stdio
	address string // as in package net; of a Unix socket, an absolute path
}

const stdio = "stdio"

// forms reminds of what an address may be.
const forms = "want HOST:PORT, PORT, unix:PATH or stdio, such as 127.0.0.1:1234 or [::1]:1234"

// Parse reads an address as users write it: HOST:PORT, :PORT or PORT, unix:PATH, or stdio. Without
// a host it means 127.0.0.1; to be reached from other machines, the user must give 0.0.0.0 or [::].
// An error is one of usage.
func Parse(text string) (Address, error) {
	if text == stdio {
		return Address{network: stdio, address: stdio}, nil
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return parseUnix(path)
	}
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, errors.New(forms)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, errors.New(forms)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return Address{network: tcpFor(host), address: net.JoinHostPort(host, port)}, nil
}

// tcpFor keeps 0.0.0.0 from meaning all of IPv6, too.
func tcpFor(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// maxSocketPath is the longest path of a Unix socket in bytes: that of sun_path without its final
// zero (unix(7)).
const maxSocketPath = 107

func parseUnix(path string) (Address, error) {
	if path == "" {
		return Address{}, errors.New("the path is missing: want unix:PATH")
	}
	path, err := filepath.Abs(path)
	switch {
	case err != nil:
		return Address{}, err
	case strings.Contains(path, ":"):
		return Address{}, errors.New("gdb reads a path with a colon as HOST:PORT; choose a path without a colon")
	case len(path) > maxSocketPath:
		return Address{}, fmt.Errorf("the path of a socket has at most %d bytes, and %s has %d; choose a shorter one",
			maxSocketPath, path, len(path))
	}
	return Address{network: "unix", address: path}, nil
}

// IsStdio reports whether the only client is the process that started this one; see [TakeStdio].
func (a Address) IsStdio() bool { return a.network == stdio }

// String returns the address as a debugger takes it: HOST:PORT, a path, or stdio.
func (a Address) String() string { return a.address }

// Listen opens the address. Closing the listener removes a Unix socket.
func (a Address) Listen() (net.Listener, error) {
	if a.network == "unix" {
		return listenUnix(a.address)
	}
	l, err := net.Listen(a.network, a.address)
	if err != nil {
		return nil, a.explain(err)
	}
	return l, nil
}

// Check returns the error that Listen would return, without accepting connections.
func (a Address) Check() error {
	l, err := a.Listen()
	if err != nil {
		return err
	}
	return l.Close()
}

// explain says in one line what is wrong with a TCP address and what to try.
func (a Address) explain(err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("listen on %s: unknown host name; give an address to --listen", a)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program listens on %s; choose another address with --listen", a)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("listen on %s: not an address of this machine; choose another one with --listen", a)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: permission denied; choose a port above 1023 with --listen", a)
	}
	return fmt.Errorf("listen on %s: %w; choose another address with --listen", a, cause(err))
}

// cause returns the error of the system call in an error of package net.
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// WarnExposed warns on w if programs on other machines may reach an address on which memory is
// served.
func WarnExposed(w io.Writer, addr net.Addr) {
	var ip net.IP
	switch addr := addr.(type) {
	case *net.TCPAddr:
		ip = addr.IP
	case *net.UDPAddr:
		ip = addr.IP
	default: // a Unix socket
		return
	}
	if !ip.IsLoopback() {
		fmt.Fprintf(w, "physgdb: WARNING: EVERY CLIENT THAT CAN CONNECT TO %v CAN READ ALL MEMORY OF THE TARGET MACHINE\n", addr)
	}
}
