package klog

import (
	"fmt"
	"strings"
	"time"

	"physgdb/internal/plain"
)

// Caller is the thread or CPU that logged a message (printk_caller_id(), kernel/printk/printk.c).
type Caller uint32

// callerIsCPU marks the number of a CPU rather than the id of a thread.
const callerIsCPU = 1 << 31

// String returns the caller in the format of the console: T1 for a thread, C0 for a CPU.
func (c Caller) String() string {
	kind := 'T'
	if c&callerIsCPU != 0 {
		kind = 'C'
	}
	return fmt.Sprintf("%c%d", kind, uint32(c&^callerIsCPU))
}

// Format is how messages are printed. The zero value is the format of the console.
type Format struct {
	Caller bool      // print the caller after the time, as kernels with CONFIG_PRINTK_CALLER do
	Boot   time.Time // if not zero, print wall clock times (dmesg -T); see [linux.Kernel.BootTime]
}

// Format returns a message as the console prints it (record_print_text(), kernel/printk/printk.c):
// every line begins with the time and ends with a newline. Unlike on the console, unprintable
// characters are escaped; see [plain.Text].
func (f Format) Format(r *Record) string {
	prefix := f.prefix(r)
	var b strings.Builder
	for line := range strings.SplitSeq(r.Text, "\n") {
		b.WriteString(prefix)
		b.WriteString(plain.Text(line))
		b.WriteByte('\n')
	}
	return b.String()
}

func (f Format) prefix(r *Record) string {
	us := uint64(r.Time) / uint64(time.Microsecond)
	prefix := fmt.Sprintf("[%5d.%06d]", us/1e6, us%1e6)
	if !f.Boot.IsZero() {
		prefix = f.Boot.Add(r.Time).Format("[Mon Jan _2 15:04:05 2006]")
	}
	if f.Caller {
		prefix += fmt.Sprintf("[%6s]", r.Caller)
	}
	return prefix + " "
}
