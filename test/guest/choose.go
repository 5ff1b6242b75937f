package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
)

// choice is the newest kernel of a series according to apt's lists at one time. It is cached
// because apt needs seconds to answer.
type choice struct {
	Archive  string // the archive's name; "" means own
	Lists    string // the archive's stamp at that time
	Packages *packages
}

// chooser selects the kernel of a series.
type chooser struct {
	Wanted
	cache   string
	archive *aptState
	log     hclog.Logger
	stamp   string   // of the lists that the choice was made from
	missing []string // kernels that could not be downloaded
}

// choose returns the newest kernel; kept is an earlier choice, or nil.
func (c *chooser) choose(ctx context.Context, kept *choice) (*packages, error) {
	if c.archive.stale() {
		if err := c.update(ctx); err != nil {
			c.log.Warn("could not update the package lists", "error", err)
		}
	}
	var err error
	if c.stamp, err = c.archive.stamp(); err != nil {
		return nil, err
	}
	if kept != nil && kept.Lists == c.stamp {
		return kept.Packages, nil
	}
	return c.archive.newest(ctx, c.Wanted, c.missing)
}

// renew updates the package lists and chooses again.
func (c *chooser) renew(ctx context.Context) (*packages, error) {
	updated := c.update(ctx)
	p, err := c.choose(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, updated)
	}
	return p, nil
}

// update updates the archive's lists, unless another process has done so since choose looked.
func (c *chooser) update(ctx context.Context) error {
	unlock, err := lock(ctx, filepath.Join(c.cache, "apt.lock"), c.log)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err := c.archive.stamp(); err == nil && now != c.stamp && !c.archive.stale() {
		return nil
	}
	c.log.Info("updating apt's package lists", "archive", c.archive.name)
	return c.archive.update(ctx)
}

func (c *chooser) file() string { return filepath.Join(c.cache, c.name()+".newest") }

// recall returns what remember kept, or nil.
func (c *chooser) recall() *choice {
	data, err := os.ReadFile(c.file())
	if err != nil {
		return nil
	}
	kept := new(choice)
	if json.Unmarshal(data, kept) != nil || kept.Packages == nil {
		return nil
	}
	if p := kept.Packages; len(p.Headers) > 0 && !p.Toolchain.known() {
		return nil // written by a version without toolchains
	}
	return kept
}

// remember keeps a choice for recall.
func (c *chooser) remember(p *packages) error {
	data, err := json.MarshalIndent(choice{Archive: c.archive.name, Lists: c.stamp, Packages: p}, "", "\t")
	if err != nil {
		return fmt.Errorf("remember the newest kernel: %w", err)
	}
	if err := os.WriteFile(c.file(), data, 0o644); err != nil {
		return fmt.Errorf("remember the newest kernel: %w", err)
	}
	return nil
}
