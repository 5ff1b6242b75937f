package module

import (
	"context"
	"testing"

	"physgdb/test/kmemtest"
	"physgdb/test/linuxtest"
)

const base = kmemtest.Base

var ctx = context.Background()

// world is a kernel whose modules are read.
type world struct {
	*linuxtest.World
	mods *Modules
}

func newWorld(t testing.TB, addrs map[string]uint64) *world {
	w := linuxtest.New(t, addrs, New)
	return &world{w, w.Kernel.Code.(*Modules)}
}
