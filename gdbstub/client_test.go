package gdbstub_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// serve runs a server on a free port until the test ends and returns its address.
func serve(t testing.TB, opener gdbstub.Opener, o *gdbstub.Options) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, opener, o)
	return ln.Addr().String()
}

func serveOn(t testing.TB, ln net.Listener, opener gdbstub.Opener, o *gdbstub.Options) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- gdbstub.NewServer(opener, o).ServeListener(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ServeListener: %v", err)
		}
	})
}

// client is a debugger made of packets.
type client struct {
	t    testing.TB
	conn net.Conn
	wire *rsp.Conn
}

// dial connects a client to the server at addr.
func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(gdbPatience)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, rsp.NewConn(conn, 4*rsp.DefaultLimit)}
}

// pipe is a client without a network, of which a fuzzer has plenty.
func pipe(t testing.TB, target gdbstub.Target) *client {
	here, there := net.Pipe()
	ended := make(chan error)
	go func() { ended <- gdbstub.NewServer(open(target), nil).Serve(context.Background(), there) }()
	t.Cleanup(func() {
		here.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &client{t, here, rsp.NewConn(here, 4*rsp.DefaultLimit)}
}

// connect is dial to a server of its own for target.
func connect(t testing.TB, target gdbstub.Target) *client {
	t.Helper()
	return dial(t, serve(t, open(target), nil))
}

// send sends a packet.
func (c *client) send(packet string) {
	c.t.Helper()
	if err := c.wire.Write([]byte(packet)); err != nil {
		c.t.Fatalf("send %q: %v", packet, err)
	}
}

// raw sends bytes that are no packet.
func (c *client) raw(bytes string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(bytes)); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next packet from the server.
func (c *client) receive() string {
	c.t.Helper()
	_, payload, err := c.wire.Read()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return string(payload)
}

// ask sends a packet and returns the reply.
func (c *client) ask(packet string) string {
	c.t.Helper()
	c.send(packet)
	return c.receive()
}

// expect fails the test unless the reply to packet is want.
func (c *client) expect(packet, want string) {
	c.t.Helper()
	if got := c.ask(packet); got != want {
		c.t.Errorf("%q is answered %.300q, want %.300q", packet, got, want)
	}
}

// document reads a whole object by qXfer, a little at a time.
func (c *client) document(object, annex string) string {
	c.t.Helper()
	var doc strings.Builder
	for {
		part := c.ask(fmt.Sprintf("qXfer:%s:read:%s:%x,1000", object, annex, doc.Len()))
		data, err := rsp.AppendUnescaped(nil, []byte(part[min(1, len(part)):]))
		if err != nil || part == "" || part[0] != 'm' && part[0] != 'l' {
			c.t.Fatalf("%s %q from %#x on is answered %.300q", object, annex, doc.Len(), part)
		}
		doc.Write(data)
		if part[0] == 'l' {
			return doc.String()
		}
	}
}

// expectPart sends a packet and wants some words in the answer.
func (c *client) expectPart(packet, want string) {
	c.t.Helper()
	if got := c.ask(packet); !strings.Contains(got, want) {
		c.t.Errorf("%q is answered %q, want %q in it", packet, got, want)
	}
}

// expectEnd fails the test unless the server closes the connection.
func (c *client) expectEnd() {
	c.t.Helper()
	if _, payload, err := c.wire.Read(); err == nil {
		c.t.Errorf("got %q, want the end of the connection", payload)
	}
}
