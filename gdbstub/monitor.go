package gdbstub

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"physgdb/gdbstub/rsp"
)

// runMonitor answers qRcmd,<line in hex>: the output as console text, then OK. An error is shown as text, too, since
// gdb makes nothing but "Protocol error with Rcmd" of an error code.
func (s *session) runMonitor(ctx context.Context, args []byte) reply {
	monitor := s.can.monitor
	if monitor == nil {
		return unsupported()
	}
	line, err := rsp.AppendUnhex(nil, bytes.TrimPrefix(args, []byte(",")))
	if err != nil {
		return text(codeRefused)
	}
	var output console
	_, err = ask(ctx, s.worker, func(ctx context.Context, _ Target) (struct{}, error) {
		return struct{}{}, monitor.Monitor(ctx, &output, string(line))
	})
	shown := output.seal()
	if err != nil {
		shown = append(shown, err.Error()+"\n"...)
	}
	if s.print(shown) != nil {
		return reply{silent: true, end: true}
	}
	return ok()
}

// maxOutput bounds the output of one monitor command, in bytes.
const maxOutput = 16 << 20

var (
	errSealed = errors.New("the deadline of the command has passed")
	errOutput = errors.New("the output of the command is too long")
)

// console collects the output of a monitor command until its deadline.
type console struct {
	mu     sync.Mutex // protects all below; a late command and the session meet here
	text   bytes.Buffer
	sealed bool
}

// Write adds to the output, or fails when nobody waits for it any more.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sealed:
		return 0, errSealed
	case c.text.Len()+len(p) > maxOutput:
		return 0, errOutput
	}
	return c.text.Write(p)
}

// seal ends the output and returns it.
func (c *console) seal() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	return c.text.Bytes()
}
