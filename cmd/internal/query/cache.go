package host

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"physgdb/cmd/internal/kept"
	"physgdb/internal/plain"
)

// WriteCache lists the files that are kept for the next run, the last used first, as a table or as JSON.
func WriteCache(w io.Writer, inJSON bool) error {
	store, err := kept.Open(0)
	if err != nil {
		return fmt.Errorf("no cache: %w", err)
	}
	type line struct {
		Used time.Time `json:"used"`
		Size int64     `json:"size"`
		Path string    `json:"path"`
	}
	var total uint64
	entries := store.Entries()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range entries {
		total += uint64(e.Size)
		if inJSON {
			if err := plain.WriteJSON(w, line{e.Used.UTC(), e.Size, e.Path}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", e.Used.Format("2006-01-02 15:04"), sizeText(uint64(e.Size)), e.Path)
	}
	if inJSON {
		return nil
	}
	fmt.Fprintf(t, "total\t%s\t%d files in %s\n", sizeText(total), len(entries), store.Dir)
	return t.Flush()
}

// ClearCache removes the files that are kept for the next run, but for those that another physgdb uses.
func ClearCache(w io.Writer) error {
	store, err := kept.Open(0)
	if err != nil {
		return fmt.Errorf("no cache: %w", err)
	}
	files, size, err := store.Clear()
	fmt.Fprintf(w, "removed %d files, %s, from %s\n", files, sizeText(uint64(size)), store.Dir)
	return err
}

// ParseSize reads a number of bytes, such as 500MiB, 2GiB or 1048576.
func ParseSize(text string) (int64, error) {
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
