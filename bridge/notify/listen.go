package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
)

// DefaultPort is the UDP port of notices, unless both sides are configured otherwise.
const DefaultPort = 6666

// remembered is how many different notices a Listener keeps to detect repeats: that of a panic is
// sent three times.
const remembered = 64

// Listener receives notices.
type Listener struct {
	conn *net.UDPConn
	log  hclog.Logger
	seen [][]byte
}

// Listen opens the address of a URL such as udp://127.0.0.1:6666. What arrives and is no notice goes to log, which may
// be nil.
func Listen(address string, log hclog.Logger) (*Listener, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "udp" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("notices: %q is not an address such as udp://127.0.0.1:%d", address, DefaultPort)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), fmt.Sprint(DefaultPort))
	}
	addr, err := net.ResolveUDPAddr("udp", host)
	if err != nil {
		return nil, fmt.Errorf("notices: %w", err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("notices: %w", err)
	}
	return &Listener{conn: conn, log: log}, nil
}

// Addr returns the address that notices may be sent to.
func (l *Listener) Addr() netip.AddrPort { return l.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Next waits for a notice and returns it with its sender's address. It skips repeats, and datagrams
// that are not notices.
func (l *Listener) Next(ctx context.Context) (*Notice, netip.AddrPort, error) {
	// A past deadline wakes the read; it is cleared again for the next call.
	if err := l.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("notices: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := l.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil, from, ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) { // left by a call before this one
				l.conn.SetReadDeadline(time.Time{})
				continue
			}
			return nil, from, fmt.Errorf("notices: %w", err)
		}
		notice, err := Parse(buf[:n])
		if err != nil {
			l.log.Warn("datagram ignored", "from", from, "bytes", n, "why", err)
			continue
		}
		if l.repeated(buf[:n]) {
			continue
		}
		return notice, from, nil
	}
}

func (l *Listener) repeated(datagram []byte) bool {
	for _, s := range l.seen {
		if bytes.Equal(s, datagram) {
			return true
		}
	}
	if len(l.seen) == remembered {
		l.seen = l.seen[1:]
	}
	l.seen = append(l.seen, bytes.Clone(datagram))
	return false
}

// Close closes the socket. A call of Next in progress returns net.ErrClosed.
func (l *Listener) Close() error { return l.conn.Close() }
