package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool keeps files that were made once, one after the other in a single file on disk. That file
// has no name, so that it ends with this process. Any number of sessions may read from it at once.
type spool struct {
	mu   sync.Mutex
	disk *os.File // nil before the first file
	size int64
	kept map[string]*io.SectionReader // by name
	turn chan struct{}                // holds one element while a file is made
}

// maxSpool bounds the spool, in bytes: the files of 200 modules have some 50 MB.
const maxSpool = 1 << 30

func newSpool() *spool {
	return &spool{kept: map[string]*io.SectionReader{}, turn: make(chan struct{}, 1)}
}

// open returns the file of a name. If there is none yet, it calls make and keeps what that returns,
// unless the spool is full. One file is made at a time, as that takes much memory. The error is
// make's or ctx's.
func (s *spool) open(ctx context.Context, name string, make func() (File, error)) (File, error) {
	if kept := s.find(name); kept != nil {
		return kept, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if kept := s.find(name); kept != nil {
		return kept, nil
	}
	made, err := make() // which may take long: others need not wait for it
	if err != nil {
		return nil, err
	}
	return s.keep(name, made)
}

func (s *spool) find(name string) *io.SectionReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[name]
}

// keep copies a file to the end of the spool, unless that is full.
func (s *spool) keep(name string, made File) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size+made.Size() > maxSpool {
		return made, nil
	}
	if s.disk == nil {
		var err error
		if s.disk, err = createNameless(); err != nil {
			return nil, fmt.Errorf("store a file made from memory: %w", err)
		}
	}
	to := io.NewOffsetWriter(s.disk, s.size)
	if _, err := io.Copy(to, io.NewSectionReader(made, 0, made.Size())); err != nil {
		return nil, fmt.Errorf("store a file made from memory: %w", err)
	}
	kept := io.NewSectionReader(s.disk, s.size, made.Size())
	s.kept[name], s.size = kept, s.size+made.Size()
	return kept, nil
}

// createNameless creates a temporary file and removes its name.
func createNameless() (*os.File, error) {
	f, err := os.CreateTemp("", "physgdb-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk == nil {
		return nil
	}
	return s.disk.Close()
}
