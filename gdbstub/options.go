package gdbstub

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/internal/accept"
)

// Options tunes a Server. Zero values mean the defaults.
type Options struct {
	Logger hclog.Logger // default: no log. Packets are logged at debug level

	// Deadline is how long a client waits for any answer at most, 4 s by default. gdb gives up
	// after 6 s and then takes a late answer for that to its next request, so it should stay well
	// below.
	Deadline time.Duration

	// WriteTimeout ends the connection of a client that does not take an answer for so long;
	// default 30 s.
	WriteTimeout time.Duration

	// HelloTimeout ends the connection of a client whose first request is not there so long after
	// the Target was opened; default 10 s. Debuggers speak as soon as they are connected.
	HelloTimeout time.Duration

	// PacketTimeout ends the connection of a client that takes longer than this to end a packet it
	// has begun; default 10 s. Debuggers send a packet in one piece.
	PacketTimeout time.Duration

	// IdleTimeout ends the connection of a client that has sent no request for so long; default 24
	// h, so that a debugger that is left open overnight is still connected. A peer that is gone is
	// noticed sooner, by TCP.
	IdleTimeout time.Duration

	// MaxClients is how many connections ServeListener serves at once; default 128. For one more,
	// that which has been idle longest is closed: since it connected, or since its last request was
	// answered. If requests of all are being answered, the newcomer gets a refusal it shows. A
	// Target with a call that never returns counts on after its client has gone.
	//
	// A client costs at most 1 MiB for its packets, in addition to its Target, the lists that it
	// is just reading and the output of one monitor command.
	MaxClients int
}

// withDefaults returns a copy of o, which may be nil, with every value set.
func (o *Options) withDefaults() Options {
	var full Options
	if o != nil {
		full = *o
	}
	if full.Logger == nil {
		full.Logger = hclog.NewNullLogger()
	}
	if full.Deadline <= 0 {
		full.Deadline = 4 * time.Second
	}
	if full.WriteTimeout <= 0 {
		full.WriteTimeout = 30 * time.Second
	}
	if full.HelloTimeout <= 0 {
		full.HelloTimeout = 10 * time.Second
	}
	if full.PacketTimeout <= 0 {
		full.PacketTimeout = 10 * time.Second
	}
	if full.IdleTimeout <= 0 {
		full.IdleTimeout = 24 * time.Hour
	}
	if full.MaxClients <= 0 {
		full.MaxClients = 128
	}
	return full
}

// limits are those of a connection.
func (o Options) limits() accept.Limits {
	return accept.Limits{Hello: o.HelloTimeout, Packet: o.PacketTimeout, Idle: o.IdleTimeout, Write: o.WriteTimeout}
}
