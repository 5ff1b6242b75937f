package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// collector receives the datagrams that a guest sends to the host.
type collector struct {
	conn *net.UDPConn
	done chan struct{} // closed when the receiver has ended

	mu   sync.Mutex
	kept [][]byte
}

func newCollector() (*collector, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("listen for notices: %w", err)
	}
	c := &collector{conn: conn, done: make(chan struct{})}
	go c.receive()
	return c, nil
}

func (c *collector) port() int { return c.conn.LocalAddr().(*net.UDPAddr).Port }

func (c *collector) close() {
	_ = c.conn.Close()
	<-c.done
}

func (c *collector) receive() {
	defer close(c.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		c.mu.Lock()
		c.kept = append(c.kept, bytes.Clone(buf[:n]))
		c.mu.Unlock()
	}
}

// notices returns those of one event ("hello", "panic"), or all ("").
func (c *collector) notices(event string) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found [][]byte
	for _, notice := range c.kept {
		var head struct {
			Event string `json:"event"`
		}
		_ = json.Unmarshal(notice, &head) // a datagram without JSON has no event
		if event == "" || head.Event == event {
			found = append(found, notice)
		}
	}
	return found
}

// await waits for notices that QEMU may still deliver. Fewer are no error, because datagrams can be
// lost.
func (c *collector) await(ctx context.Context, event string, n int) {
	const maxWait, pause = time.Second, 10 * time.Millisecond
	for range maxWait / pause {
		if len(c.notices(event)) >= n || ctx.Err() != nil {
			return
		}
		time.Sleep(pause)
	}
}
