package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// send sends datagrams to an address.
func send(t *testing.T, address string, datagrams ...string) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	must(t, err)
	defer conn.Close()
	for _, d := range datagrams {
		_, err := conn.Write([]byte(d))
		must(t, err)
	}
}

// greet asks a stub why the machine stopped, as debuggers do first, and returns its answer.
func greet(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("+$?#3f"))
	must(t, err)
	answer, err := bufio.NewReader(conn).ReadString('#')
	must(t, err)
	return answer
}

func TestServe(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("serve RAM --cr3 CR3 --vmlinux VMLINUX --listen 127.0.0.1:0 --log-level error")...)
	address := await(t, &p.out, "physgdb: listening on ")
	if answer := greet(t, address); !strings.Contains(answer, "$T05") {
		t.Errorf("answer %q, want a stop reply", answer)
	}
	r := p.stop(t)
	r.want(t, exitDone, "")
	if want := fmt.Sprintf("physgdb: listening on %s\n", address); r.out != want || r.errors != "" {
		t.Errorf("stdout %q, want %q; stderr %q", r.out, want, r.errors)
	}
}

// TestServeOnASocket: it is its owner's alone, and gone when the stub is.
func TestServeOnASocket(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(h.dir, "gdb")
	p := start(t, h.words("serve RAM --cr3 CR3 --listen unix:DIR/gdb")...)
	if got := await(t, &p.out, "physgdb: listening on "); got != path {
		t.Errorf("listening on %s, want %s", got, path)
	}
	info, err := os.Lstat(path)
	must(t, err)
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
	physgdb(t, h.words("serve RAM --cr3 CR3 --listen unix:DIR/gdb")...).want(t, exitFailed, "another program listens on "+path)
	conn, err := net.Dial("unix", path)
	must(t, err)
	defer conn.Close()
	p.stop(t).want(t, exitDone, "")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestServeEndsWithAClientConnected(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("serve RAM --cr3 CR3 --listen 127.0.0.1:0")...)
	conn, err := net.Dial("tcp", await(t, &p.out, "physgdb: listening on "))
	must(t, err)
	defer conn.Close()
	p.stop(t).want(t, exitDone, "")
}

func TestServeWarnsOfOtherMachines(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("serve RAM --cr3 CR3 --listen 0.0.0.0:0")...)
	await(t, &p.out, "physgdb: listening on ")
	if r := p.stop(t); !strings.Contains(r.errors, "CAN READ ALL MEMORY") {
		t.Errorf("stderr %q, want a warning", r.errors)
	}
}

// TestServeAddressInUse: the error must come before the notice of the panic.
func TestServeAddressInUse(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	for _, more := range []string{"--cr3 CR3", "--notify udp://127.0.0.1:0"} {
		physgdb(t, h.words(fmt.Sprintf("serve RAM --listen %v %s", l.Addr(), more))...).want(t, exitFailed,
			fmt.Sprintf("another program listens on %v; choose another address with --listen", l.Addr()))
	}
}

func TestServeWaitsForThePanic(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("serve RAM --notify udp://127.0.0.1:0 --listen 127.0.0.1:0")...)
	address := await(t, &p.errors, "physgdb: waiting for the target's notice of its panic on udp://")
	send(t, address, h.hello("clock"))
	await(t, &p.errors, "physgdb: db7 says hello (task clock, ")
	if out := p.out.String(); out != "" {
		t.Fatalf("ready before the panic: %q", out)
	}
	send(t, address, h.death(), h.death())
	await(t, &p.errors, "physgdb: db7 panicked: tests (task init, CR3 "+h.cr3)
	stub := await(t, &p.out, "physgdb: listening on ")
	const cpu2 = "989682;" // of the idle task of CPU 2, in hexadecimal
	if answer := greet(t, stub); !strings.Contains(answer, "thread:p1."+cpu2) && !strings.Contains(answer, "thread:"+cpu2) {
		t.Errorf("answer %q, want CPU 2, which panicked", answer)
	}
	p.stop(t).want(t, exitDone, "")
}

func TestWaitingIsInterrupted(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("serve RAM --notify udp://127.0.0.1:0 --listen 127.0.0.1:0")...)
	await(t, &p.errors, "physgdb: waiting ")
	r := p.stop(t)
	if !strings.HasSuffix(r.errors, "\nphysgdb: interrupted\n") || r.status != exitFailed {
		t.Errorf("status %d, stderr %q", r.status, r.errors)
	}
}

func TestANoticeIsFitForATerminal(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("info RAM --notify udp://127.0.0.1:0")...)
	address := await(t, &p.errors, "physgdb: waiting for the target's notice of its panic on udp://")
	send(t, address, strings.Replace(h.death(), "tests", `\u001b[2J\nphysgdb: all is well\n`, 1))
	r := p.wait(t)
	r.errors, _, _ = strings.Cut(r.errors, "bridge: ")
	if r.status != exitFailed || strings.Contains(r.errors+r.out, "\x1b") || strings.Count(r.errors, "\n") != 2 ||
		!strings.Contains(r.out, `panicked: \x1b[2J physgdb: all is well; task init`) {
		t.Errorf("%d\n%s\n%s", r.status, r.out, r.errors)
	}
}

func TestNotify(t *testing.T) {
	h := newHost(t)
	p := start(t, "notify", "--count", "2", "--listen", "udp://127.0.0.1:0")
	address := await(t, &p.errors, "physgdb: listening for notices on udp://")
	send(t, address, h.hello("clock"), h.hello("clock"), h.death(), h.death())
	r := p.wait(t)
	r.want(t, exitDone, "")
	var events []string
	for text := range strings.Lines(r.out) {
		var line struct{ Event, Host, CR3, From string }
		must(t, json.Unmarshal([]byte(text), &line))
		if line.Host != "db7" || !strings.HasPrefix(line.From, "127.0.0.1:") {
			t.Errorf("line %s", text)
		}
		events = append(events, line.Event+" "+line.CR3)
	}
	if got, want := strings.Join(events, ", "), "hello "+h.clock+", panic "+h.cr3; got != want {
		t.Errorf("received %s; want %s", got, want)
	}
	// What notify wrote, --notify reads.
	kept := h.file(t, "kept", r.out)
	r = physgdb(t, h.words("read RAM 0x400000 4 --cr3 hello:clock --notify "+kept)...)
	r.want(t, exitDone, "")
	if !strings.Contains(r.out, "|tick|") {
		t.Errorf("%s: not the memory of clock", r.out)
	}
}

func TestNotifyIsInterrupted(t *testing.T) {
	p := start(t, "notify", "--listen", "udp://127.0.0.1:0")
	await(t, &p.errors, "physgdb: listening for notices on ")
	p.stop(t).want(t, exitDone, "")
}

func TestNoticesAddressInUse(t *testing.T) {
	h := newHost(t)
	p := start(t, "notify", "--listen", "udp://127.0.0.1:0")
	address := await(t, &p.errors, "physgdb: listening for notices on udp://")
	for _, line := range []string{"notify --listen udp://", "info RAM --notify udp://"} {
		physgdb(t, h.words(line+address)...).want(t, exitFailed, "another physgdb may be listening there")
	}
	p.stop(t).want(t, exitDone, "")
}

func TestAdapter(t *testing.T) {
	h := newHost(t)
	p := start(t, h.words("adapter --memory RAM --listen 127.66.1.1")...)
	await(t, &p.out, "physgdb: adapter at 127.66.1.1")
	const source = " nettlp://127.66.1.1?local=127.66.1.2&requester=01:00 "
	local := physgdb(t, h.words("maps RAM --cr3 CR3")...)
	remote := physgdb(t, h.words("maps --cr3 CR3"+source)...)
	remote.want(t, exitDone, "")
	if remote.out != local.out {
		t.Errorf("over the adapter:\n%s\nfrom the file:\n%s", remote.out, local.out)
	}
	if !strings.Contains(remote.errors, " TLPs sent, ") {
		t.Errorf("stderr %q: nothing of TLPs", remote.errors)
	}
	ram := h.file(t, "iomem", "0-1fffff : System RAM\n")
	physgdb(t, h.words("read"+source+"--phys 0x1000 16")...).want(t, exitFailed, "not known to be RAM; give --ram FILE")
	physgdb(t, h.words("read"+source+"--phys 0x1000 16 --ram "+ram)...).want(t, exitDone, "")
	beyond := h.file(t, "beyond", "40000000-4fffffff : System RAM\n")
	physgdb(t, h.words("read"+source+"--phys 0x40000000 16 --ram "+beyond)...).want(t, exitFailed, "0 of 16 bytes: ")

	physgdb(t, h.words("adapter RAM --listen 127.66.1.1")...).want(t, exitFailed, "UDP port 127.66.1.1:12288 is taken")

	r := p.stop(t)
	if r.status != exitDone || !strings.Contains(r.errors, " requests outside RAM 0x40000") {
		t.Errorf("status %d, stderr %q", r.status, r.errors)
	}
}

func TestNoAdapter(t *testing.T) {
	h := newHost(t)
	const source = " nettlp://127.66.1.3?local=127.66.1.4&requester=01:00 "
	r := physgdb(t, h.words("info --timeout 50ms --cr3 CR3"+source)...)
	r.want(t, exitFailed, "no answer")
}
