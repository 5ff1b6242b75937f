package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/gdbstub/rsp"
	"physgdb/gdbstub/tdesc"
	"physgdb/symbols/elffile"
)

// peer is a server for gdb that shows the bytes of the file content: physgdb and QEMU have them at
// addr, others return the address.
type peer struct {
	name  string
	serve func(b *testing.B, h *host, content string, addr uint64) (address string, base uint64)
}

var peers = []peer{
	{"what=physgdb-file", func(b *testing.B, h *host, _ string, addr uint64) (string, uint64) {
		return serve(b, h.guest.Source(), "--notify", h.notices), addr
	}},
	{"what=physgdb-nettlp", func(b *testing.B, h *host, _ string, addr uint64) (string, uint64) {
		return serve(b, adapter(b, h, "--delay", "15us"), "--notify", h.notices), addr
	}},
	{"what=physgdb-nettlp-mrrs4096", func(b *testing.B, h *host, _ string, addr uint64) (string, uint64) {
		return serve(b, adapter(b, h, "--delay", "15us")+"&mrrs=4096", "--notify", h.notices), addr
	}},
	{"what=trivial-stub", trivialStub},
	{"what=qemu", qemuStub},
	{"what=gdbserver", gdbserver},
}

// qemuStub is QEMU's own stub. QEMU resumes the machine when gdb disconnects, so it must be stopped
// again.
func qemuStub(b *testing.B, h *host, _ string, addr uint64) (string, uint64) {
	b.Helper()
	address := freeAddress(b)
	hmp := func(line string) {
		if said, err := h.guest.HMP(limited(b, time30s), line); err != nil || strings.Contains(said, "rror") {
			b.Errorf("QEMU's %s: %v %s", line, err, said)
		}
	}
	hmp("gdbserver tcp:" + address)
	b.Cleanup(func() {
		hmp("gdbserver none")
		hmp("stop")
	})
	return address, addr
}

// gdbserver runs the program of that name on a process that has the bytes in its data and was not
// started yet.
func gdbserver(b *testing.B, _ *host, content string, _ uint64) (string, uint64) {
	b.Helper()
	dir := b.TempDir()
	source := fmt.Sprintf(".data\n.globl content\n.balign 4096\ncontent: .incbin %q\n.text\n.globl _start\n_start: mov $60, %%eax\nxor %%edi, %%edi\n"+
		"syscall\n.section .note.GNU-stack\n", content)
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program+".s", []byte(source), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-nostdlib", "-static", "-no-pie", "-o", program, program+".s").CombinedOutput(); err != nil {
		b.Fatalf("gcc: %v\n%s", err, out)
	}
	table, err := elffile.ReadTable(program)
	if err != nil {
		b.Fatal(err)
	}
	s, ok := table.Lookup("content")
	if !ok {
		b.Fatal("the program has no content")
	}
	return listen(b, func(conn net.Conn) { serveProgram(b, conn, program) }), s.Addr
}

// serveProgram runs gdbserver directly on a connection until the client disconnects.
func serveProgram(b *testing.B, conn net.Conn, program string) {
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		b.Error(err)
		return
	}
	defer socket.Close()
	cmd := exec.Command("gdbserver", "-", program)
	cmd.Stdin, cmd.Stdout = socket, socket
	if err := cmd.Run(); err != nil {
		b.Errorf("gdbserver: %v; test/guest/setup.sh installs it", err)
	}
}

// freeAddress returns an address at which no process listens.
func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// trivialStub is the minimal stub that gdb accepts: memory is the bytes from address 0 on, encoded
// beforehand.
func trivialStub(b *testing.B, _ *host, content string, _ uint64) (string, uint64) {
	b.Helper()
	data, err := os.ReadFile(content)
	if err != nil {
		b.Fatal(err)
	}
	memory := []byte(hex.EncodeToString(data))
	return listen(b, func(conn net.Conn) { answerTrivially(conn, memory) }), 0
}

// listen accepts clients until the benchmark ends, and returns its address.
func listen(b *testing.B, answer func(net.Conn)) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// answerTrivially serves a client until it disconnects.
func answerTrivially(conn net.Conn, memory []byte) {
	c := rsp.NewConn(conn, rsp.DefaultLimit)
	for {
		kind, packet, err := c.Read()
		if err != nil {
			return
		}
		if kind != rsp.Packet {
			continue
		}
		reply := []byte{}
		switch text := string(packet); {
		case strings.HasPrefix(text, "qSupported"):
			reply = fmt.Appendf(nil, "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+", rsp.DefaultLimit)
		case text == "QStartNoAckMode", strings.HasPrefix(text, "H"), strings.HasPrefix(text, "D"):
			reply = []byte("OK")
		case strings.HasPrefix(text, "qXfer:features:read:target.xml:"):
			reply = chunk(tdesc.AMD64().XML(), text[len("qXfer:features:read:target.xml:"):])
		case text == "?":
			reply = []byte("T05")
		case text == "g":
			for _, r := range tdesc.AMD64().Registers() {
				reply = append(reply, bytes.Repeat([]byte{'0'}, r.Bits/4)...)
			}
		case packet[0] == 'm':
			addr, length, _ := strings.Cut(text[1:], ",")
			at := 2 * min(number("0x"+addr), uint64(len(memory)/2))
			if reply = memory[at:min(at+2*number("0x"+length), uint64(len(memory)))]; len(reply) == 0 {
				reply = []byte("E14")
			}
		}
		if c.Write(reply) != nil {
			return
		}
		if string(packet) == "QStartNoAckMode" {
			c.StartNoAck()
		}
	}
}

// chunk answers a qXfer: span is "offset,length" in hexadecimal.
func chunk(document []byte, span string) []byte {
	offset, length, _ := strings.Cut(span, ",")
	rest := document[min(number("0x"+offset), uint64(len(document))):]
	if n := number("0x" + length); uint64(len(rest)) > n {
		return append([]byte{'m'}, rest[:n]...)
	}
	return append([]byte{'l'}, rest...)
}
