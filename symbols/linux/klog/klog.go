// Package klog reads the log of a Linux kernel from its memory.
package klog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"physgdb/symbols/linux"
)

// Log is the kernel's log as its memory still held it, what dmesg --clear hid among it.
type Log struct {
	// Records in the order in which they were logged.
	Records []Record
	// Damage tells what is missing from Records that should be there: records that were being written when the machine
	// died, and those whose memory is damaged or cannot be read.
	Damage []error
}

// Record is one message of the kernel's log (struct printk_info, kernel/printk/printk_ringbuffer.h).
type Record struct {
	Seq      uint64        // counts messages from 0; the ring holds the newest, so the first may be a later one
	Time     time.Duration // since boot, by the scheduler's clock, which stands still while the machine is suspended
	Level    uint8         // 0 (emergency) to 7 (debug), as in syslog(3)
	Facility uint8         // as in syslog(3), 0 for the kernel's own messages
	Caller   Caller
	Text     string // one or more lines, without the last newline
	// Continued says that the caller meant to go on in the same line (KERN_CONT): the rest is a record of its own if
	// another caller came in between.
	Continued bool
	Subsystem string // of the device that the message is about, such as "pci"; "" for none
	Device    string // its name, such as "+pci:0000:00:1f.2"; "" for none
}

// errNoRing says that a kernel has no lockless ring.
var errNoRing = errors.New("this kernel keeps its log in the form before Linux 5.10, which physgdb does not read")

// Read reads the kernel's log: its newest records, or all if newest is 0. A few of the newest cost much less than all. The
// error is for logs of which nothing can be read; what is wrong with parts is told by [Log.Damage]. Logs of kernels
// before 5.10 are refused.
func Read(ctx context.Context, k *linux.Kernel, newest int) (*Log, error) {
	ring, err := openRing(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("the kernel's log: %w", err)
	}
	want := chunk
	if newest > 0 {
		want = min(newest, chunk)
	}
	for !ring.exhausted() && (newest <= 0 || len(ring.found) < newest) {
		if err := ring.readOlder(ctx, want); err != nil {
			return nil, fmt.Errorf("the kernel's log: %w", err)
		}
		want = min(2*want, chunk) // there may be many that are no messages any more
	}
	if newest > 0 && len(ring.found) > newest {
		ring.found = ring.found[:newest]
	}
	slices.Reverse(ring.found)
	ring.damage.Reverse()
	return &Log{Records: ring.found, Damage: ring.damage.List()}, nil
}

// IsPanic reports whether a record is the one in which panic() reports that the kernel stops.
func (r Record) IsPanic() bool { return strings.HasPrefix(r.Text, linux.PanicPrefix) }

// Newest is a [linux.LogReader].
func Newest(ctx context.Context, k *linux.Kernel, newest int) ([]linux.LogLine, error) {
	log, err := Read(ctx, k, newest)
	if err != nil {
		return nil, err
	}
	lines := make([]linux.LogLine, len(log.Records))
	for i, r := range log.Records {
		lines[i] = linux.LogLine{Caller: uint32(r.Caller), Text: r.Text}
	}
	return lines, errors.Join(log.Damage...)
}
