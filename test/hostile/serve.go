package hostile

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"physgdb/gdbstub/rsp"
)

// Server is physgdb serve on a hostile image.
type Server struct {
	Ready time.Duration // until it listened
	Watch *MemoryWatch

	address string
	cmd     *exec.Cmd
	stderr  capped
}

// Serve starts physgdb serve, with a cache of its own in dir.
func Serve(ctx context.Context, dir, physgdb, image string) (*Server, error) {
	s := &Server{cmd: exec.CommandContext(ctx, physgdb, "serve", "--listen", "127.0.0.1:0", image)}
	s.cmd.Dir, s.cmd.Stderr = dir, &s.stderr
	s.cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir, "TMPDIR="+dir)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.Watch = Watch(s.cmd.Process.Pid)
	timer := time.AfterFunc(2*MaxTime, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	s.Ready = time.Since(begin)
	var ok bool
	if s.address, ok = strings.CutPrefix(strings.TrimSpace(line), "physgdb: listening on "); !ok {
		s.Stop()
		return nil, fmt.Errorf("serve did not listen after %v: %s", s.Ready, s.stderr.String())
	}
	return s, nil
}

// Stop ends the server.
func (s *Server) Stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.Watch.Stop()
}

// Debug sends the requests of a connecting debugger, fetches the files of some modules, and reads a
// stack. It returns the time of the slowest answer, and its request. The error is for a broken
// connection, or an answer that is late.
func (s *Server) Debug(ctx context.Context) (slowest time.Duration, what string, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	c := &client{conn: conn, rsp: rsp.NewConn(conn, 1<<20)}
	for _, request := range []string{
		"qSupported:multiprocess+;xmlRegisters=i386;qXfer:libraries:read+", "?", "qfThreadInfo", "g",
	} {
		if _, err = c.ask(request); err != nil {
			return c.slowest, c.what, err
		}
	}
	if _, err = c.transfer("threads"); err != nil {
		return c.slowest, c.what, err
	}
	libraries, err := c.transfer("libraries")
	if err != nil {
		return c.slowest, c.what, err
	}
	const most = 4 // files
	for _, name := range firstNames(libraries, most) {
		if err = c.fetch(name); err != nil {
			return c.slowest, c.what, err
		}
	}
	for _, table := range []string{"", "processes", "threads", "files", "modules"} {
		if _, err = c.transfer("osdata:read:" + table); err != nil {
			return c.slowest, c.what, err
		}
	}
	for _, name := range []string{"/proc/1/maps", "/proc/iomem", "/proc/modules", "/proc/version", "/proc/kallsyms"} {
		if err = c.fetch(name); err != nil {
			return c.slowest, c.what, err
		}
	}
	for _, command := range []string{"info", "ps", "modules", "dmesg", "bt"} {
		if _, err = c.ask("qRcmd," + fmt.Sprintf("%x", command)); err != nil {
			return c.slowest, c.what, err
		}
	}
	return c.slowest, c.what, nil
}

var libraryName = regexp.MustCompile(`name="(/from-memory/[^"]*)"`)

// firstNames returns the first names in a list of libraries whose files are made from memory.
func firstNames(list []byte, most int) (names []string) {
	for _, m := range libraryName.FindAllSubmatch(list, most) {
		names = append(names, string(m[1]))
	}
	return slices.Compact(names)
}

// client is a debugger that measures its waits.
type client struct {
	conn    net.Conn
	rsp     *rsp.Conn
	slowest time.Duration
	what    string
}

// ask sends a request and returns the answer, the last of several for what a monitor command
// prints.
func (c *client) ask(request string) ([]byte, error) {
	begin := time.Now()
	defer func() {
		if took := time.Since(begin); took > c.slowest {
			c.slowest, c.what = took, request[:min(len(request), 60)]
		}
	}()
	if err := c.conn.SetDeadline(begin.Add(2 * MaxAnswer)); err != nil {
		return nil, err
	}
	if err := c.rsp.Write([]byte(request)); err != nil {
		return nil, err
	}
	for {
		kind, p, err := c.rsp.Read()
		if err != nil {
			return nil, fmt.Errorf("%s: no answer after %v: %w", request[:min(len(request), 60)], time.Since(begin), err)
		}
		if kind == rsp.Packet && (len(p) == 0 || p[0] != 'O' || string(p) == "OK") {
			return bytes.Clone(p), nil
		}
	}
}

// transfer reads an object by qXfer: its name, or that and its annex as NAME:read:ANNEX.
func (c *client) transfer(object string) ([]byte, error) {
	var all []byte
	if !strings.Contains(object, ":") {
		object += ":read:"
	}
	for {
		p, err := c.ask(fmt.Sprintf("qXfer:%s:%x,fff0", object, len(all)))
		if err != nil || len(p) == 0 || p[0] != 'm' && p[0] != 'l' {
			return all, err
		}
		if all, err = rsp.AppendUnescaped(all, p[1:]); err != nil || p[0] == 'l' {
			return all, err
		}
		if len(p) == 1 {
			return all, io.ErrUnexpectedEOF
		}
	}
}

// fetch opens a file and reads its first part, for which the server makes all of it.
func (c *client) fetch(name string) error {
	p, err := c.ask(fmt.Sprintf("vFile:open:%x,0,0", name))
	if err != nil || !bytes.HasPrefix(p, []byte("F")) || bytes.HasPrefix(p, []byte("F-")) {
		return err
	}
	if _, err := c.ask(fmt.Sprintf("vFile:pread:%s,4000,0", p[1:])); err != nil {
		return err
	}
	_, err = c.ask(fmt.Sprintf("vFile:close:%s", p[1:]))
	return err
}
