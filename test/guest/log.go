package guest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// LogLine is one line that the kernel printed. A record of several lines has its time stamp on
// each.
type LogLine struct {
	// Time is since boot, in whole microseconds.
	Time time.Duration
	// Text is all after the blank that follows the time stamp, as it was printed.
	Text string
}

// KernelLog returns the kernel's messages so far. Guests print every line on the serial console.
func (g *Guest) KernelLog() ([]LogLine, error) {
	log, err := os.ReadFile(g.SerialLog())
	if err != nil {
		return nil, fmt.Errorf("read the guest's serial log: %w", err)
	}
	return ParseKernelLog(string(log)), nil
}

// stamp matches the prefix of a kernel message: "[ 7.654321] ", then "[ T1] " or so with
// CONFIG_PRINTK_CALLER. It is not always at the start of a line: the kernel interrupts what
// processes print, but nothing interrupts the kernel.
var stamp = regexp.MustCompile(`\[ *(\d+)\.(\d{6})\](?:\[ *[TC]\d+\])? `)

// ParseKernelLog returns the kernel's messages in the output of a serial console, without an
// incomplete last line.
func ParseKernelLog(serial string) []LogLine {
	var all []LogLine
	for line := range strings.Lines(serial) {
		text, whole := strings.CutSuffix(line, "\n")
		at := stamp.FindStringSubmatchIndex(text)
		if !whole || at == nil {
			continue
		}
		seconds, err := strconv.ParseInt(text[at[2]:at[3]], 10, 32)
		if err != nil {
			continue // out of range
		}
		micros, _ := strconv.Atoi(text[at[4]:at[5]])
		all = append(all, LogLine{
			Time: time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond,
			Text: strings.TrimRight(text[at[1]:], "\r"),
		})
	}
	return all
}

// panicked reports whether a serial log has the last line that a panicking kernel prints.
func panicked(log string) bool {
	_, after, found := strings.Cut(log, "---[ end Kernel panic")
	return found && strings.Contains(after, "\n")
}
