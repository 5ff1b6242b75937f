package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor is a connection to QEMU's machine protocol (QMP): one JSON object a line, one answer to a
// command.
type monitor struct {
	conn net.Conn

	mu    sync.Mutex // one command at a time
	lines *bufio.Reader
}

// message is anything that QEMU sends. The greeting and events, which are not used here, have
// neither member.
type message struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// dialMonitor connects to the socket of a QEMU that may not have created it yet.
func dialMonitor(ctx context.Context, path string) (*monitor, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			m := &monitor{conn: conn, lines: bufio.NewReader(conn)}
			if _, err := m.execute(ctx, "qmp_capabilities", nil); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return m, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU's monitor %s: %w", path, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *monitor) close() { _ = m.conn.Close() }

// execute runs one command. After ctx has ended during a command, the connection is unusable.
func (m *monitor) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop := context.AfterFunc(ctx, m.close)
	defer stop()
	answer, err := m.exchange(command, arguments)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("QMP command %s: %w", command, err)
	}
	return answer, nil
}

func (m *monitor) exchange(command string, arguments any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return nil, err
	}
	for {
		line, err := m.lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var answer message
		if err := json.Unmarshal(line, &answer); err != nil {
			return nil, fmt.Errorf("QEMU has %q: %w", line, err)
		}
		switch {
		case answer.Error != nil:
			return nil, fmt.Errorf("%s: %s", answer.Error.Class, answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
}
