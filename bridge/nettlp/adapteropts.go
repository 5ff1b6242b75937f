package nettlp

import (
	"fmt"
	"net/netip"

	"github.com/hashicorp/go-hclog"
)

// Usual settings of an adapter: those of a PC's root complex.
const (
	DefaultMPS = 256 // bytes
	DefaultRCB = 64  // bytes
)

// AdapterOptions say where an adapter listens and how it cuts its completions. Listen must be
// given; the zero value of everything else is usual.
type AdapterOptions struct {
	Listen    netip.Addr // IPv4 address of the adapter
	BasePort  uint16     // UDP port of tag 0; 0 means BasePort, the constant
	Tags      int        // how many ports; 0 means all 256
	MPS       int        // most bytes in one completion: a power of two from 128 to 4096 (PCIe base spec §7.5.3.4)
	RCB       int        // read completion boundary, 64 or 128 bytes (PCIe base spec §2.3.1.1)
	Completer ID         // completer ID in the completions
	Link      Link       // how bad the way back is
	Logger    hclog.Logger
}

// settle checks o and returns it with every default filled in.
func (o *AdapterOptions) settle() (AdapterOptions, error) {
	var s AdapterOptions
	if o != nil {
		s = *o
	}
	orElse(&s.Tags, MaxTags)
	orElse(&s.MPS, DefaultMPS)
	orElse(&s.RCB, DefaultRCB)
	orElse(&s.BasePort, BasePort)
	if s.Logger == nil {
		s.Logger = hclog.NewNullLogger()
	}
	switch {
	case !s.Listen.Is4():
		return s, fmt.Errorf("no address to listen at: want an IPv4 address of this machine, such as 127.0.0.2")
	case s.Tags < 1 || s.Tags > MaxTags || int(s.BasePort)+s.Tags > 1<<16:
		return s, fmt.Errorf("%d tags from port %d: want 1 to %d, below port 65536", s.Tags, s.BasePort, MaxTags)
	case s.MPS < 128 || s.MPS > pageSize || s.MPS&(s.MPS-1) != 0:
		return s, fmt.Errorf("mps %d: want a power of two from 128 to %d", s.MPS, pageSize)
	case s.RCB != 64 && s.RCB != 128:
		return s, fmt.Errorf("rcb %d: want 64 or 128", s.RCB)
	case s.Link.Delay < 0:
		return s, fmt.Errorf("delay %v: want 0 or more", s.Link.Delay)
	}
	for _, p := range []float64{s.Link.Loss, s.Link.Dup, s.Link.Reorder} {
		if !(p >= 0 && p <= 1) {
			return s, fmt.Errorf("probability %v: want 0 to 1", p)
		}
	}
	return s, nil
}
