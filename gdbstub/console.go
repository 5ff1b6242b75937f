package gdbstub

import (
	"errors"
	"sync"
)

// maxOutput bounds the output of a monitor command that is still to be shown, in bytes.
const maxOutput = 16 << 20

var (
	errSealed = errors.New("the command has ended already")
	errOutput = errors.New("the output of the command is too long")
)

// console holds the output of a monitor command that is still to be shown. The command writes it
// and the session reads it.
type console struct {
	grown chan struct{} // receives when there is more

	mu     sync.Mutex // protects all below
	text   []byte
	sealed bool
}

func newConsole() *console { return &console{grown: make(chan struct{}, 1)} }

// Write adds to the output, or fails when the client no longer waits for it.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sealed:
		return 0, errSealed
	case len(c.text)+len(p) > maxOutput:
		return 0, errOutput
	}
	c.text = append(c.text, p...)
	select {
	case c.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

// hasGrown reports whether grown has something to receive.
func (c *console) hasGrown() bool { return len(c.grown) > 0 }

// take returns what is still to be shown, and forgets it.
func (c *console) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.text
	c.text = nil
	return text
}

// seal ends the output and returns the rest of it.
func (c *console) seal() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	text := c.text
	c.text = nil
	return text
}
