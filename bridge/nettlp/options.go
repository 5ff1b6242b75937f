package nettlp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Usual settings of a client.
const (
	// DefaultTags × DefaultMRRS = 8 KiB outstanding is what the FPGA's 16 KiB buffers are proven to
	// bear; nothing in NetTLP controls flow.
	DefaultTags = 16
	// DefaultMRRS is the longest read request, in bytes, that operating systems usually allow a
	// device.
	DefaultMRRS = 512
	// DefaultTimeout is how long one try may stay unanswered: a thousand round trips, or one bad
	// scheduling delay.
	DefaultTimeout = 20 * time.Millisecond
	// DefaultRetries bounds a request to 0.8 s in all, which lets one datagram in ten be lost
	// without a reader noticing more than the delay.
	DefaultRetries = 39

	maxTimeout = 3 * time.Second // stamps can be compared for a little longer than this plus stampLife
	maxRetries = 1000
)

// Options say how to reach an adapter. Remote and Local must be given; the zero value of everything
// else is usual.
type Options struct {
	Remote    netip.Addr // the adapter's IPv4 address
	Local     netip.Addr // the address of this machine that the adapter answers to; not Remote
	BasePort  uint16     // UDP port of tag 0; 0 means BasePort, the constant
	Requester ID         // the adapter's PCIe ID: completions are routed to it
	// Tags is how many requests may be outstanding, 1…256, and how many tags are used: those from 0
	// on. Adapters built before 2020-03 know 16. The more tags, the longer one can rest before it
	// is used again, so by default, 0, there are DefaultTags requests outstanding, under all 256
	// tags in turn.
	Tags    int
	MRRS    int           // longest request in bytes, a power of two from 128 to 4096
	Timeout time.Duration // for one try, at most 3 s
	Retries int           // tries after the first; negative means none
	// Budget is how long one request may take, all tries included: at most, and usually, Timeout ×
	// (1 + Retries). If it is given and Retries is not, there are as many tries as fit.
	Budget time.Duration
	Name   string       // for Info; empty means one made of the addresses
	Logger hclog.Logger // nil means silence

	pool int // tags in use
}

// settle checks o and returns it with every default filled in.
func (o *Options) settle() (Options, error) {
	var s Options
	if o != nil {
		s = *o
	}
	if err := s.checkAddresses(); err != nil {
		return s, err
	}
	s.fill()
	switch {
	case s.Tags < 1 || s.Tags > MaxTags:
		return s, fmt.Errorf("tags %d: want 1 to %d", s.Tags, MaxTags)
	case s.MRRS < 128 || s.MRRS > pageSize || s.MRRS&(s.MRRS-1) != 0:
		return s, fmt.Errorf("mrrs %d: want a power of two from 128 to %d", s.MRRS, pageSize)
	case int(s.BasePort)+s.pool > 1<<16:
		return s, fmt.Errorf("port %d: %d tags do not fit below 65536", s.BasePort, s.pool)
	case s.Timeout < 0 || s.Timeout > maxTimeout:
		return s, fmt.Errorf("timeout %v: want more than 0 and at most %v", s.Timeout, maxTimeout)
	case s.Retries > maxRetries:
		return s, fmt.Errorf("retries %d: want at most %d", s.Retries, maxRetries)
	}
	return s, nil
}

func (o *Options) checkAddresses() error {
	switch {
	case !o.Remote.Is4():
		return fmt.Errorf("no adapter address: want an IPv4 address, as in nettlp://192.168.10.1?local=192.168.10.3")
	case !o.Local.Is4():
		return fmt.Errorf("no local address: add local=IP, the IPv4 address of this machine to which the adapter sends its answers " +
			"(192.168.10.3 unless its registers say otherwise)")
	case o.Local == o.Remote:
		return fmt.Errorf("local and adapter address are both %s: each end needs its own, as they share port numbers "+
			"(on one host try 127.0.0.2 and 127.0.0.3)", o.Local)
	}
	return nil
}

func (o *Options) fill() {
	if o.pool = o.Tags; o.Tags == 0 {
		o.Tags, o.pool = DefaultTags, MaxTags
	}
	orElse(&o.MRRS, DefaultMRRS)
	orElse(&o.BasePort, BasePort)
	orElse(&o.Timeout, DefaultTimeout)
	if o.Budget > 0 {
		o.Timeout = min(o.Timeout, o.Budget)
		orElse(&o.Retries, min(int(o.Budget/max(o.Timeout, 1))-1, maxRetries))
	} else {
		orElse(&o.Retries, DefaultRetries)
	}
	o.Retries = max(o.Retries, 0)
	if all := o.Timeout * time.Duration(1+o.Retries); o.Budget <= 0 || o.Budget > all {
		o.Budget = all
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("nettlp://%s?local=%s&requester=%s", o.Remote, o.Local, o.Requester)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
}

// orElse gives an option that was left zero its default.
func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
