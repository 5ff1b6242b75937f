package guest

import (
	"regexp"
	"strings"
)

// panicked says whether a serial log has the last line that a panicking kernel prints.
func panicked(log string) bool {
	_, after, found := strings.Cut(log, "---[ end Kernel panic")
	return found && strings.Contains(after, "\n")
}

// callTrace returns the functions of the last "Call Trace" in a serial log. After an oops that is the oops's: the panic
// that follows prints none.
func callTrace(log string) []string {
	start := strings.LastIndex(log, "Call Trace:")
	if start < 0 {
		return nil
	}
	log, _, _ = strings.Cut(log[start:], "---[ end ")
	// "[    7.654321]  panic+0x118/0x2ed" or "[    7.654321][    T1]  fn+0x10/0x20 [module]"; "? fn+…" is doubtful.
	entry := regexp.MustCompile(`\]\s+([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?$`)
	var functions []string
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\r\n")
		if m := entry.FindStringSubmatch(line); m != nil {
			functions = append(functions, m[1])
		}
		if strings.Contains(line, "</TASK>") {
			break
		}
	}
	return functions
}
