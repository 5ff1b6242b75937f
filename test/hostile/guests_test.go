package hostile

import (
	"context"
	"os"
	"sync"
	"testing"

	"physgdb/test/guest"
)

// guests are the dead machines of -boot, by their series. They are booted at first use and frozen.
var guests = struct {
	mu     sync.Mutex
	booted map[string]*guest.Guest
}{booted: map[string]*guest.Guest{}}

// dead returns the file with the memory of a dead machine with a kernel of a series.
func dead(release string) (string, error) {
	guests.mu.Lock()
	defer guests.mu.Unlock()
	g := guests.booted[release]
	if g == nil {
		var err error
		if g, err = guest.Boot(context.Background(), guest.Config{Release: release, NoDebug: true}); err != nil {
			return "", err
		}
		guests.booted[release] = g
	}
	return g.RAMFile(), nil
}

func TestMain(m *testing.M) {
	status := m.Run()
	for _, g := range guests.booted {
		if g.Close() != nil {
			status = max(status, 1)
		}
	}
	os.Exit(status)
}
