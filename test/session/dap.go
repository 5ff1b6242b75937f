package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/google/go-dap"
)

// DAP is a debug adapter: a program with which an editor exchanges messages of the Debug Adapter
// Protocol over stdin and stdout. One goroutine at a time may use it.
type DAP struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr Output
	seq    int // of the last request
	begin  time.Time
	ended  chan struct{} // closed at the end of the adapter's output

	mu      sync.Mutex // protects all below
	answers map[int]chan *dapMessage
	events  map[string][]*dapMessage // not yet awaited
	news    chan struct{}            // closed at the next event
	said    strings.Builder
	err     error // why the adapter's output ended
}

// dapMessage is the ProtocolMessage of the specification with the members of all its kinds.
type dapMessage struct {
	Seq        int             `json:"seq"`
	Type       string          `json:"type"`
	Command    string          `json:"command,omitempty"`
	Arguments  any             `json:"arguments,omitempty"`
	Event      string          `json:"event,omitempty"`
	RequestSeq int             `json:"request_seq,omitempty"`
	Success    bool            `json:"success"`
	Message    string          `json:"message,omitempty"`
	Body       json.RawMessage `json:"body,omitempty"`
}

// StartDAP starts an adapter. It is killed when ctx ends; its child processes then read the end of
// their input.
func StartDAP(ctx context.Context, name string, args ...string) (*DAP, error) {
	d := &DAP{
		cmd: exec.CommandContext(ctx, name, args...), begin: time.Now(), ended: make(chan struct{}),
		answers: map[int]chan *dapMessage{}, events: map[string][]*dapMessage{}, news: make(chan struct{}),
	}
	d.cmd.Stderr = &d.stderr
	d.cmd.WaitDelay = time.Second // a grandchild may hold stderr open
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start debug adapter: %w", err)
	}
	d.stdin = stdin
	go d.listen(bufio.NewReader(stdout))
	return d, nil
}

// listen dispatches the adapter's messages until its output ends.
func (d *DAP) listen(in *bufio.Reader) {
	defer close(d.ended)
	for {
		m, err := readDAP(in)
		if err != nil {
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
			return
		}
		d.take(m)
	}
}

// readDAP reads one message.
func readDAP(in *bufio.Reader) (*dapMessage, error) {
	content, err := dap.ReadBaseMessage(in)
	if err != nil {
		return nil, err
	}
	var m dapMessage
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("%w in %.200q", err, content)
	}
	return &m, nil
}

func (d *DAP) take(m *dapMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note("<-", m)
	switch m.Type {
	case "response":
		if answer, ok := d.answers[m.RequestSeq]; ok {
			delete(d.answers, m.RequestSeq)
			answer <- m // the channel has room for one
		}
	case "event":
		d.events[m.Event] = append(d.events[m.Event], m)
		close(d.news)
		d.news = make(chan struct{})
	}
}

// note adds a message to the transcript; mu is held.
func (d *DAP) note(direction string, m *dapMessage) {
	what, text := m.Command+m.Event, []byte(m.Body)
	switch {
	case m.Type == "request":
		text, _ = json.Marshal(m.Arguments)
	case m.Type == "response" && !m.Success:
		what += " failed: " + m.Message
	}
	fmt.Fprintf(&d.said, "%8.3f %s %-8s %s %s\n", time.Since(d.begin).Seconds(), direction, m.Type, what, text)
}

// Call is a request that may be unanswered.
type Call struct {
	Command string

	d      *DAP
	begin  time.Time
	answer chan *dapMessage
}

// Send sends a request, with arguments or nil, and does not wait for its answer. If the adapter has
// ended, Wait returns the error.
func (d *DAP) Send(command string, arguments any) *Call {
	d.seq++
	m := &dapMessage{Seq: d.seq, Type: "request", Command: command, Arguments: arguments}
	call := &Call{Command: command, d: d, begin: time.Now(), answer: make(chan *dapMessage, 1)}
	d.mu.Lock()
	d.answers[m.Seq] = call.answer
	d.note("->", m)
	d.mu.Unlock()
	if content, err := json.Marshal(m); err == nil {
		_ = dap.WriteBaseMessage(d.stdin, content) // an adapter that has ended is an error of Wait
	}
	return call
}

// ErrRefused is the error of a request that the adapter answered with success: false.
var ErrRefused = errors.New("refused")

// Wait waits for the answer, reads its body, if it has one, into body, which may be nil, and
// returns how long the answer took.
func (c *Call) Wait(ctx context.Context, body any) (time.Duration, error) {
	m, err := c.receive(ctx)
	took := time.Since(c.begin)
	switch {
	case err != nil:
		return took, fmt.Errorf("%s: %w", c.Command, err)
	case !m.Success:
		return took, fmt.Errorf("%s: %w: %s", c.Command, ErrRefused, refusal(m))
	case body != nil && m.Body != nil:
		if err := json.Unmarshal(m.Body, body); err != nil {
			return took, fmt.Errorf("%s: %w in %.200q", c.Command, err, m.Body)
		}
	}
	return took, nil
}

func (c *Call) receive(ctx context.Context) (*dapMessage, error) {
	select {
	case m := <-c.answer:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.d.ended:
	}
	select {
	case m := <-c.answer: // the last message before the end
		return m, nil
	default:
		return nil, c.d.gone()
	}
}

// refusal returns the message of a failed response, preferably the one for the user.
func refusal(m *dapMessage) string {
	var body struct{ Error struct{ Format string } }
	if json.Unmarshal(m.Body, &body) == nil && body.Error.Format != "" {
		return body.Error.Format
	}
	return m.Message
}

// Do sends a request and waits for its answer, see Wait.
func (d *DAP) Do(ctx context.Context, command string, arguments, body any) (time.Duration, error) {
	return d.Send(command, arguments).Wait(ctx, body)
}

// Await waits for an event and reads its body into body, which may be nil. Each event is returned
// once, in order of arrival.
func (d *DAP) Await(ctx context.Context, event string, body any) error {
	for {
		last := d.hasEnded() // checked first, so that events before the end are in the queue
		d.mu.Lock()
		queue, news := d.events[event], d.news
		if len(queue) > 0 {
			d.events[event] = queue[1:]
		}
		d.mu.Unlock()
		if len(queue) > 0 {
			if body == nil {
				return nil
			}
			return json.Unmarshal(queue[0].Body, body)
		}
		if last {
			return fmt.Errorf("event %s: %w", event, d.gone())
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("event %s: %w", event, context.Cause(ctx))
		case <-d.ended:
		}
	}
}

// hasEnded reports whether the adapter's output has ended.
func (d *DAP) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Skip discards the queued events of a name and returns their number.
func (d *DAP) Skip(event string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.events[event])
	delete(d.events, event)
	return n
}

// Printed returns what the adapter printed for the user so far, its output events.
func (d *DAP) Printed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all strings.Builder
	for _, m := range d.events["output"] {
		var body struct{ Output string }
		if json.Unmarshal(m.Body, &body) == nil {
			all.WriteString(body.Output)
		}
	}
	return all.String()
}

// Transcript returns all messages so far, one a line: seconds since the start, direction and
// content.
func (d *DAP) Transcript() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

// gone returns the error for an adapter that has ended, with its stderr.
func (d *DAP) gone() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Errorf("the debug adapter has ended: %w: %s", d.err, d.stderr.String())
}

// Close ends the adapter's input and waits until it has ended, or is killed because its context
// has.
func (d *DAP) Close() error {
	_ = d.stdin.Close() // it may have ended by itself
	<-d.ended
	return d.cmd.Wait()
}
