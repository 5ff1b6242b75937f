package query

import (
	"fmt"
	"time"

	"physgdb/cmd/internal/kept"
)

// CachedFile is a file that is kept for the next run.
type CachedFile struct {
	Used time.Time `json:"used"` // the last time
	Size int64     `json:"size"` // bytes
	Path string    `json:"path"`
}

// Cache is the files that are kept for the next run.
type Cache struct {
	Dir   string
	Files []CachedFile // the most recently used first
}

// ListCache returns the files that are kept for the next run.
func ListCache() (*Cache, error) {
	store, err := openCache()
	if err != nil {
		return nil, err
	}
	c := &Cache{Dir: store.Dir}
	for _, e := range store.Entries() {
		c.Files = append(c.Files, CachedFile{e.Used.UTC(), e.Size, e.Path})
	}
	return c, nil
}

// Cleared is what was removed from the cache.
type Cleared struct {
	Files int    `json:"files"`
	Size  int64  `json:"size"` // bytes
	Dir   string `json:"dir"`
}

// ClearCache removes the files that are kept for the next run, except those that another physgdb
// uses.
func ClearCache() (*Cleared, error) {
	store, err := openCache()
	if err != nil {
		return nil, err
	}
	files, size, err := store.Clear()
	return &Cleared{files, size, store.Dir}, err
}

func openCache() (*kept.Store, error) {
	store, err := kept.Open(0)
	if err != nil {
		return nil, fmt.Errorf("no cache: %w", err)
	}
	return store, nil
}
