package klog

import (
	"fmt"
	"strings"
	"time"

	"physgdb/internal/plain"
)

// Caller is who logged a message (printk_caller_id(), kernel/printk/printk.c).
type Caller uint32

// callerIsCPU marks the number of a CPU rather than the id of a thread.
const callerIsCPU = 1 << 31

// String writes the caller as the console does: T1 for a thread, C0 for a CPU.
func (c Caller) String() string {
	kind := 'T'
	if c&callerIsCPU != 0 {
		kind = 'C'
	}
	return fmt.Sprintf("%c%d", kind, uint32(c&^callerIsCPU))
}

// Format says how messages are printed. The zero value is the way of the console.
type Format struct {
	Caller bool      // who logged it stands behind the time, as on kernels with CONFIG_PRINTK_CALLER
	Boot   time.Time // unless zero, times are those of the clock on the wall (dmesg -T); see [Kernel.BootTime]
}

// Format writes a message as the console prints it (record_print_text(), kernel/printk/printk.c): every line begins with
// the time, and ends with a newline. What is not printable is escaped as by [plain.Text], which the console does not do.
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
