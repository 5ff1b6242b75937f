package nettlp

import (
	"context"
	"fmt"
	"sync/atomic"

	"physgdb/bridge"
)

// Client reads a machine's RAM through an adapter: it is the initiator. It is safe for concurrent
// use; batches run one at a time.
type Client struct {
	opts Options // settled; immutable

	turn    *turn
	packets atomic.Uint64
	retries atomic.Uint64

	batch *batch // used only by the goroutine that has the turn
}

// New binds a client's sockets, one per tag that it may use. It sends nothing.
func New(o *Options) (*Client, error) {
	opts, err := o.settle()
	if err != nil {
		return nil, err
	}
	p, err := openPorts(opts.Local, opts.Remote, opts.BasePort, opts.pool)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: opts, turn: newTurn()}
	c.batch = newBatch(c, p)
	opts.Logger.Debug("NetTLP client ready", "adapter", opts.Remote, "local", opts.Local, "requester", opts.Requester,
		"tags", opts.Tags, "mrrs", opts.MRRS)
	return c, nil
}

// ReadPhys reads ops from the machine. Of a piece that fails, the bytes before the failure are
// good; Err says what happened: bridge.ErrRefused with the completion's status, bridge.ErrTimeout,
// or bridge.ErrMalformed when only invalid answers arrived. When nothing answers for as long as one
// request may take, all remaining pieces fail. The error returned is that of ctx, or wraps
// net.ErrClosed.
func (c *Client) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	if err := c.turn.take(ctx); err != nil {
		return c.wrap(err)
	}
	defer c.turn.give()
	defer c.batch.ports.wakeWhenDone(ctx)()
	return c.wrap(c.batch.read(ctx, ops))
}

func (c *Client) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read through NetTLP adapter %s: %w", c.opts.Remote, err)
}

// Info names the source. Where the machine's RAM is, an adapter does not say.
func (c *Client) Info() bridge.Info { return bridge.Info{Name: c.opts.Name} }

// Counts returns how many requests (MRd TLPs) were sent, and how many of them were retries.
func (c *Client) Counts() bridge.Counts {
	return bridge.Counts{Packets: c.packets.Load(), Retries: c.retries.Load()}
}

// Close ends the read in outstanding, if there is one, and frees the sockets.
func (c *Client) Close() error {
	c.turn.close(c.batch.ports)
	return nil
}
