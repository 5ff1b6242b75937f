package nettlp

import (
	"context"
	"net"
	"sync"
)

// turn lets one goroutine at a time use the sockets, until one closes them.
type turn struct {
	slot    chan struct{} // holds one element while a goroutine has the turn
	closing chan struct{}
	once    sync.Once
}

func newTurn() *turn { return &turn{slot: make(chan struct{}, 1), closing: make(chan struct{})} }

// take waits for the turn. It fails when ctx is done or the sockets are being closed.
func (t *turn) take(ctx context.Context) error {
	select {
	case t.slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.closing:
		return net.ErrClosed
	}
	if err := t.interrupted(ctx); err != nil {
		t.give()
		return err
	}
	return nil
}

func (t *turn) give() { <-t.slot }

// interrupted returns why the goroutine that has the turn should give it back early, or nil.
func (t *turn) interrupted(ctx context.Context) error {
	select {
	case <-t.closing:
		return net.ErrClosed
	default:
		return ctx.Err()
	}
}

// close waits for the turn, never gives it back, and frees p.
func (t *turn) close(p *ports) {
	t.once.Do(func() {
		close(t.closing)
		p.wake()
		t.slot <- struct{}{}
		p.close()
	})
}
