package render

import (
	"fmt"
	"io"
	"text/tabwriter"

	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/size"
)

// Cache writes the files that are kept for the next run: as a table with their total size, or as
// JSON.
func Cache(w io.Writer, c *query.Cache, asJSON bool) error {
	if asJSON {
		files := Table[query.CachedFile]{}
		return files.Write(w, c.Files, true)
	}
	var total uint64
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range c.Files {
		total += uint64(f.Size)
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Used.Local().Format("2006-01-02 15:04"), size.Text(uint64(f.Size)), f.Path)
	}
	fmt.Fprintf(t, "total\t%s\t%d files in %s\n", size.Text(total), len(c.Files), c.Dir)
	return t.Flush()
}

// Cleared writes what was removed from the cache.
func Cleared(w io.Writer, c *query.Cleared) error {
	_, err := fmt.Fprintf(w, "removed %d files, %s, from %s\n", c.Files, size.Text(uint64(c.Size)), c.Dir)
	return err
}
