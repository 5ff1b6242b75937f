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

// Log is the content of the kernel's log buffer, including messages hidden by dmesg --clear.
type Log struct {
	// Records are the messages in the order in which they were logged.
	Records []Record
	// Damage says which records are missing: those that were being written when the machine died,
	// and those whose memory is damaged or cannot be read.
	Damage []error
}

// Record is one message of the kernel's log (struct printk_info,
// kernel/printk/printk_ringbuffer.h).
type Record struct {
	Seq      uint64        // number of the message, from 0; the buffer holds the newest
	Time     time.Duration // since boot, by the scheduler's clock, which stops while the machine is suspended
	Level    uint8         // 0 (emergency) to 7 (debug), as in syslog(3)
	Facility uint8         // as in syslog(3), 0 for the kernel's own messages
	Caller   Caller
	Text     string // one or more lines, without the last newline
	// Continued reports whether the line is incomplete (KERN_CONT). Its continuation is a record of
	// its own if another caller logged in between.
	Continued bool
	Subsystem string // of the device of the message, such as "pci"; or ""
	Device    string // name of the device, such as "+pci:0000:00:1f.2"; or ""
}

// errNoRing is the error for kernels without the lockless ring buffer.
var errNoRing = errors.New("this kernel keeps its log in the form before Linux 5.10, which physgdb does not read")

// Read returns the newest records of the kernel's log, or all records if newest is 0. Reading a few
// records costs much less than reading all. The error is for logs of which nothing can be read, and
// for kernels before 5.10; see [Log.Damage] for damage of parts.
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
		want = min(2*want, chunk) // many may be reusable
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
