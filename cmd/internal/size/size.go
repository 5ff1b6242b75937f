// Package size writes and reads numbers of bytes as users do: 24.4 KiB, 2GiB.
package size

import (
	"fmt"
	"strconv"
	"strings"
)

// Text returns a number of bytes with its unit: as an integer if it is a multiple of the unit,
// otherwise with one decimal.
func Text(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			if n%u.size == 0 {
				return fmt.Sprintf("%d %s", n/u.size, u.name)
			}
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// Parse reads a number of bytes, such as 500MiB, 2GiB or 1048576. It must be positive.
func Parse(text string) (int64, error) {
	number, unit := text, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = n, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is not a size such as 500MiB or 2GiB", text)
	}
	return n * unit, nil
}
