package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Cache keeps whole pages of a dead machine's memory, which no program can change any more. Do not
// use it for a machine that is running.
//
// It reads whole pages, so it must wrap the [Guard], which cuts off parts outside RAM.
type Cache struct {
	Memory
	mu     sync.Mutex
	closed bool
	pages  *simplelru.LRU[PhysAddr, []byte] // a page, or as much of its start as is readable
}

// NewCache caches up to size bytes of mem.
func NewCache(mem Memory, size int) *Cache {
	// NewLRU fails for sizes below one only.
	pages, _ := simplelru.NewLRU[PhysAddr, []byte](max(1, size/PageSize), nil)
	return &Cache{Memory: mem, pages: pages}
}

func (c *Cache) ReadPhys(ctx context.Context, ops []Op) error {
	missing, err := c.missing(ops)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := c.Memory.ReadPhys(ctx, missing); err != nil {
			return err
		}
		c.keep(missing)
	} else if err := ctx.Err(); err != nil {
		return err
	}
	return c.finish(ctx, ops, missing)
}

// finish fills ops from the cached pages and those just read. If the page around a piece could not
// be read, finish reads the piece itself, since RAM may end in the middle of a page. A piece that
// timed out is not read again.
func (c *Cache) finish(ctx context.Context, ops, read []Op) error {
	var again []Op
	var from []int
	for i := range ops {
		op := &ops[i]
		n, err := c.fill(op, read)
		rest := Op{Addr: op.Addr + PhysAddr(n), Buf: op.Buf[n:], Trusted: op.Trusted}
		switch {
		case len(rest.Buf) == 0:
			op.Err = nil
		case errors.Is(err, ErrTimeout) || errors.Is(err, ErrMalformed):
			op.Err = &AccessError{rest.Addr, len(rest.Buf), cause(err)}
		default:
			again, from = append(again, rest), append(from, i)
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := c.Memory.ReadPhys(ctx, again); err != nil {
		return err
	}
	for k := range again {
		ops[from[k]].Err = again[k].Err
	}
	return nil
}

// cause returns why an access failed, without the address of that access.
func cause(err error) error {
	var ae *AccessError
	if errors.As(err, &ae) {
		return ae.Err
	}
	return err
}

// missing lists the pages that ops touch and that are not in the cache, each once.
func (c *Cache) missing(ops []Op) (pages []Op, err error) {
	seen := map[PhysAddr]bool{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%s: %w", c.Info().Name, os.ErrClosed)
	}
	for i := range ops {
		op := &ops[i]
		for page := op.Addr &^ (PageSize - 1); page < op.Addr+PhysAddr(len(op.Buf)); page += PageSize {
			if seen[page] || c.pages.Contains(page) {
				continue
			}
			seen[page] = true
			pages = append(pages, Op{Addr: page, Buf: make([]byte, PageSize), Trusted: op.Trusted})
		}
	}
	return pages, nil
}

// Close closes the cached memory.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Memory.Close()
}

// keep adds the pages that were read. Failed pages are read again next time.
func (c *Cache) keep(read []Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range read {
		if n := read[i].Good(); n > 0 {
			c.pages.Add(read[i].Addr, read[i].Buf[:n])
		}
	}
}

// fill copies bytes from the cache or from the pages just read to op. It returns the number of
// bytes copied, and the reason if these are not all.
func (c *Cache) fill(op *Op, read []Op) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(op.Buf) {
		at := op.Addr + PhysAddr(n)
		page, off := at&^(PageSize-1), int(at&(PageSize-1))
		data, ok := c.pages.Get(page)
		if len(data) < PageSize {
			if i := slices.IndexFunc(read, func(r Op) bool { return r.Addr == page }); i >= 0 {
				err = read[i].Err
				if !ok { // already evicted by a batch larger than the cache
					data = read[i].Buf[:read[i].Good()]
				}
			}
		}
		if off >= len(data) {
			return n, err
		}
		n += copy(op.Buf[n:], data[off:])
		if len(data) < PageSize {
			return n, err
		}
	}
	return n, nil
}
