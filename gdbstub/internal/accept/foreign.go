package accept

import (
	"bytes"
	"fmt"
	"net"
)

// foreignError is the error of a connection that begins as one of another protocol: a web page can
// make a browser connect to any local port and send packets in the body of its request.
type foreignError struct{ what string }

// Error names what was recognised.
func (e foreignError) Error() string {
	return "the client speaks " + e.what + ", not the protocol of debuggers"
}

// Lengths of the HTTP methods that are recognised, in bytes: those of registered ones (IANA HTTP
// Method Registry).
const (
	minMethod = 3
	maxMethod = 17
)

// readChecked reads what the client says next. The error is a foreignError if its first bytes are
// those of another protocol.
func (c *Conn) readChecked(p []byte) (int, error) {
	if c.checked {
		return c.Conn.Read(p)
	}
	n, err := readFirst(c.Conn, p)
	c.checked = n > 0
	return n, err
}

// readFirst reads from conn until its first bytes show whether the client speaks another protocol.
// It holds back what could be the start of an HTTP method.
func readFirst(conn net.Conn, p []byte) (int, error) {
	for n := 0; ; {
		more, err := conn.Read(p[n:])
		n += more
		what, decided := recognise(p[:n])
		switch {
		case what != "":
			return 0, foreignError{what}
		case decided || n == len(p):
			return n, err
		case err != nil:
			return 0, err
		}
	}
}

// recognise names the protocol that a connection begins with, or returns "" for one that may be a
// debugger's, which begin with + - $ or an interrupt. decided is false if more bytes are needed.
func recognise(first []byte) (what string, decided bool) {
	const tlsHandshake = 0x16 // RFC 8446, section 5.1
	if len(first) > 0 && first[0] == tlsHandshake {
		return "TLS", true
	}
	length := bytes.IndexFunc(first, func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r == '-') })
	switch {
	case len(first) > 0 && first[0] == '-': // asks for a packet again
		return "", true
	case length < 0:
		return "", len(first) > maxMethod
	case length >= minMethod && length <= maxMethod && first[length] == ' ':
		return fmt.Sprintf("HTTP (%s)", first[:length]), true
	}
	return "", true
}
