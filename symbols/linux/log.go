package linux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"physgdb/symbols/linux/kmem"
)

// Log is the kernel's log as its memory still held it, what dmesg --clear hid among it.
type Log struct {
	// Records in the order in which they were logged.
	Records []LogRecord
	// Damage tells what is missing from Records that should be there: records that were being written when the machine
	// died, and those whose memory is damaged or cannot be read.
	Damage []error

	kmem.Timeouts
}

// LogRecord is one message of the kernel's log (struct printk_info, kernel/printk/printk_ringbuffer.h).
type LogRecord struct {
	Seq      uint64        // counts messages from 0; the ring holds the newest, so the first may be a later one
	Time     time.Duration // since boot, by the scheduler's clock, which stands still while the machine is suspended
	Level    uint8         // 0 (emergency) to 7 (debug), as in syslog(3)
	Facility uint8         // as in syslog(3), 0 for the kernel's own messages
	Caller   LogCaller
	Text     string // one or more lines, without the last newline
	// Continued says that the caller meant to go on in the same line (KERN_CONT): the rest is a record of its own if
	// another caller came in between.
	Continued bool
	Subsystem string // of the device that the message is about, such as "pci"; "" for none
	Device    string // its name, such as "+pci:0000:00:1f.2"; "" for none
}

// errNoRing says that a kernel has no lockless ring.
var errNoRing = errors.New("this kernel keeps its log in the form before Linux 5.10, which physgdb does not read")

// Log reads the kernel's log: its newest records, or all if newest is 0. A few of the newest cost much less than all. The
// error is for logs of which nothing can be read; what is wrong with parts is told by [Log.Damage]. Logs of kernels
// before 5.10 are refused.
func (k *Kernel) Log(ctx context.Context, newest int) (*Log, error) {
	ring, err := k.logRing(ctx)
	if err != nil {
		return nil, fmt.Errorf("the kernel's log: %w", err)
	}
	want := logChunk
	if newest > 0 {
		want = min(newest, logChunk)
	}
	for !ring.exhausted() && (newest <= 0 || len(ring.found) < newest) {
		if err := ring.readOlder(ctx, want); err != nil {
			return nil, fmt.Errorf("the kernel's log: %w", err)
		}
		want = min(2*want, logChunk) // there may be many that are no messages any more
	}
	if newest > 0 && len(ring.found) > newest {
		ring.found = ring.found[:newest]
	}
	slices.Reverse(ring.found)
	ring.damage.Reverse()
	return &Log{Records: ring.found, Damage: ring.damage.List(), Timeouts: ring.damage.Timeouts}, nil
}
