package gdbstub

import (
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options tunes a Server. Zero values mean the defaults.
type Options struct {
	Logger hclog.Logger // default: no log. Packets are logged at debug level

	// Deadline is how long a client waits for any answer at most, 4 s by default. gdb gives up after 6 s and then
	// takes a late answer for that to its next request, so it should stay well below.
	Deadline time.Duration

	// WriteTimeout ends the connection of a client that does not take an answer for so long; default 30 s.
	WriteTimeout time.Duration

	// MaxClients is how many connections ServeListener serves at once; default 16. Others get a refusal they show.
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
	if full.MaxClients <= 0 {
		full.MaxClients = 16
	}
	return full
}
