package nettlp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"physgdb/bridge"
)

// Open opens a source such as nettlp://192.168.10.1?local=192.168.10.3&requester=1b:00. The host is
// the adapter's IPv4 address; the keys are those of [Options]: local, requester, tags, mrrs,
// timeout (of one try), retries, port (that of tag 0). The Timeout of o bounds one request with all
// its tries. Open sends nothing, so it does not detect that no adapter is there.
func Open(ctx context.Context, u *url.URL, o *bridge.Options) (bridge.Memory, error) {
	opts, err := parseURL(ctx, u)
	if err != nil {
		return nil, err
	}
	if o != nil {
		opts.Budget = o.Timeout
	}
	opts.Logger = o.Log()
	c, err := New(&opts)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func parseURL(ctx context.Context, u *url.URL) (o Options, err error) {
	switch {
	case u.Port() != "":
		return o, fmt.Errorf("%s: the port of tag 0 is given by the key port=%s", u.Host, u.Port())
	case u.Path != "" && u.Path != "/":
		return o, fmt.Errorf("unexpected path %q after the address", u.Path)
	}
	q, err := bridge.NewQuery(u)
	if err != nil {
		return o, err
	}
	local, requester := q.Text("local", ""), q.Text("requester", "")
	o = Options{
		Name:     u.String(),
		Tags:     q.Int("tags", 0, 1, MaxTags),
		MRRS:     q.Int("mrrs", 0, 128, pageSize),
		BasePort: uint16(q.Int("port", 0, 1, 1<<16-1)),
		Timeout:  q.Duration("timeout", 0),
		Retries:  q.Int("retries", -1, 0, maxRetries),
	}
	o.Retries = retriesOf(o.Retries)
	if err := q.Done(); err != nil {
		return o, err
	}
	if requester != "" {
		if o.Requester, err = ParseID(requester); err != nil {
			return o, fmt.Errorf("requester: %w", err)
		}
	}
	if o.Remote, err = resolve(ctx, u.Hostname()); err != nil {
		return o, fmt.Errorf("adapter address: %w", err)
	}
	if o.Local, err = resolve(ctx, local); err != nil {
		return o, fmt.Errorf("local address: %w", err)
	}
	return o, nil
}

// retriesOf turns the URL's count, where -1 is absent and 0 is none, into that of Options.
func retriesOf(n int) int {
	switch n {
	case -1:
		return 0
	case 0:
		return -1
	}
	return n
}

// resolve finds the IPv4 address of a host. [Options] rejects an empty one.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if host == "" {
		return netip.Addr{}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); !a.Is4() {
			return a, fmt.Errorf("%s is not IPv4: NetTLP knows nothing else", host)
		}
		return a, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.Addr{}, err
	}
	return found[0].Unmap(), nil
}
