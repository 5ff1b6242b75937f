package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// clock is the running clock process.
type clock struct {
	pid    int
	hello  string
	fsBase uint64
	ticks  chan int64 // holds the last one until it is received
	ended  chan error
}

// startClock starts the clock and waits for its first line.
func startClock(port string) (*clock, error) {
	cmd := exec.Command("/bin/clock", net.JoinHostPort(hostIP, port))
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start clock: %w", err)
	}
	c := &clock{pid: cmd.Process.Pid, ticks: make(chan int64, 1), ended: make(chan error, 1)}
	lines := bufio.NewScanner(pipe)
	if c.hello, err = after("clock: hello ", lines); err != nil {
		return nil, err
	}
	fsBase, err := after("clock: fs_base ", lines)
	if err != nil {
		return nil, err
	}
	if c.fsBase, err = strconv.ParseUint(fsBase, 0, 64); err != nil {
		return nil, fmt.Errorf("the clock's fs_base: %w", err)
	}
	go c.follow(lines)
	return c, nil
}

// follow reads the clock's output immediately: a tick that waited in the pipe would be taken for a
// current one. It ends with the clock.
func (c *clock) follow(lines *bufio.Scanner) {
	for {
		text, err := after("clock: ", lines)
		if err != nil {
			c.ended <- err
			return
		}
		now, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			c.ended <- fmt.Errorf("the clock's time: %w", err)
			return
		}
		fmt.Printf("clock: %d\n", now)
		c.forget()
		c.ticks <- now
	}
}

// forget drops a tick that was not received.
func (c *clock) forget() {
	select {
	case <-c.ticks:
	default:
	}
}

// tick waits for the next tick and returns the time that the clock has stored.
func (c *clock) tick() (int64, error) {
	select {
	case now := <-c.ticks:
		return now, nil
	case err := <-c.ended:
		return 0, err
	}
}

// after returns the rest of the next line, which must begin with prefix.
func after(prefix string, lines *bufio.Scanner) (string, error) {
	if !lines.Scan() {
		return "", fmt.Errorf("the clock has ended (%v)", lines.Err())
	}
	text, ok := strings.CutPrefix(lines.Text(), prefix)
	if !ok {
		return "", fmt.Errorf("the clock printed %q, expected %q and more", lines.Text(), prefix)
	}
	return text, nil
}
