package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// aptLists is where apt keeps what it knows of its archives.
const aptLists = "/var/lib/apt/lists"

// choice is the newest kernel of a series as apt's lists of one moment knew it. It is kept because apt takes seconds to
// answer.
type choice struct {
	Lists    string // listsStamp of that moment
	Packages *packages
}

// chooser finds the kernel of a series to use.
type chooser struct {
	cache  string
	series string
	debug  bool // the debug package is wanted, too
	log    hclog.Logger
	stamp  string // of the lists that the choice was made from
}

// choose returns the newest kernel; kept is an earlier choice, or nil.
func (c *chooser) choose(ctx context.Context, kept *choice) (*packages, error) {
	var err error
	if c.stamp, err = listsStamp(); err != nil {
		return nil, err
	}
	if kept != nil && kept.Lists == c.stamp {
		return kept.Packages, nil
	}
	return newest(ctx, c.series)
}

// renew brings in new package lists and chooses again.
func (c *chooser) renew(ctx context.Context) (*packages, error) {
	updated := c.update(ctx)
	p, err := c.choose(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, updated)
	}
	return p, nil
}

// update runs apt-get update, unless another process has done so since choose looked.
func (c *chooser) update(ctx context.Context) error {
	unlock, err := lock(ctx, filepath.Join(c.cache, "apt.lock"), c.log)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err := listsStamp(); err == nil && now != c.stamp {
		return nil
	}
	c.log.Info("updating apt's package lists")
	args := []string{"apt-get", "update", "-qq"}
	if unix.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	if _, err := run(ctx, "", args[0], args[1:]...); err != nil {
		return fmt.Errorf("%w; try apt-get update as root", err)
	}
	return nil
}

func (c *chooser) file() string { return filepath.Join(c.cache, c.series+".newest") }

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
	return kept
}

// remember keeps a choice for recall.
func (c *chooser) remember(p *packages) error {
	data, err := json.MarshalIndent(choice{Lists: c.stamp, Packages: p}, "", "\t")
	if err != nil {
		return fmt.Errorf("remember the newest kernel: %w", err)
	}
	if err := os.WriteFile(c.file(), data, 0o644); err != nil {
		return fmt.Errorf("remember the newest kernel: %w", err)
	}
	return nil
}

// listsStamp sums up names, sizes and times of apt's lists: they change with every update that brought news.
func listsStamp() (string, error) {
	entries, err := os.ReadDir(aptLists)
	if err != nil {
		return "", fmt.Errorf("read apt's lists: %w; kernels come from Debian's archive, by apt", err)
	}
	sum := sha256.New()
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || entry.Name() == "lock" {
			continue
		}
		fmt.Fprintln(sum, entry.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
