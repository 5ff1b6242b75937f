package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/bridge/nettlp"
	"physgdb/gdbstub/rsp"
	"physgdb/test/session"
)

// TestOnlyRAMIsRead reads in every mapping, including devices, as a debugger would, and checks that
// no request reaches the adapter for anything but RAM.
func TestOnlyRAMIsRead(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		iomem := filepath.Join(t.TempDir(), "iomem")
		if err := os.WriteFile(iomem, []byte(h.guest.Facts.IOMem), 0o600); err != nil {
			t.Fatal(err)
		}
		listed, err := bridge.ParseRAMMap(bytes.NewReader([]byte(h.guest.Facts.IOMem)))
		if err != nil {
			t.Fatal(err)
		}
		installed := bridge.NewRAMMap([]bridge.Range{
			{Start: 0, End: 0xa0000}, {Start: 0x100000, End: bridge.PhysAddr(512 << 20)}, // QEMU's RAM except the hole below 1 MiB
		})
		for _, tc := range []struct {
			name string
			ram  bridge.RAMMap
			args []string
		}{
			{"with the host's own map", listed, []string{"--ram", iomem}},
			{"without a map", installed, nil},
		} {
			t.Run(tc.name, func(t *testing.T) {
				a, source := startAdapter(t, h, tc.ram)
				address := serve(t, append([]string{source, "--notify", h.notices}, tc.args...)...)
				good, refused := readAllOver(t, h, address)
				s := a.Stats()
				if s.OutsideRAM != 0 || s.Writes != 0 || s.Malformed != 0 || s.Crossing != 0 {
					t.Errorf("what reached the adapter: %+v", s)
				}
				if good < 1000 || refused == 0 {
					t.Errorf("%d reads succeeded and %d failed: were all mappings read?", good, refused)
				}
				t.Logf("%d places read, %d refused; %d TLPs, %d outside RAM", good, refused, s.Requests, s.OutsideRAM)
			})
		}
	})
}

// startAdapter runs an adapter in this process, so that its counters are accessible.
func startAdapter(t *testing.T, h *host, ram bridge.RAMMap) (*nettlp.Adapter, string) {
	t.Helper()
	mem, err := bridge.Open(context.Background(), h.guest.Source(), map[string]bridge.Opener{"file": dump.Open}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server, client := session.Link()
	a, err := nettlp.NewAdapter(bridge.NewGuard(mem, ram), &nettlp.AdapterOptions{Listen: server})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.Serve(context.Background()) }()
	t.Cleanup(func() {
		a.Close()
		if err := <-served; err != nil {
			t.Errorf("adapter: %v", err)
		}
		mem.Close()
	})
	return a, fmt.Sprintf("nettlp://%v?local=%v&requester=01:00", server, client)
}

// readAllOver reads some bytes at the start and across the end of every mapping of the address
// space, and throughout the large ones, through a stub. It returns the numbers of successful and
// failed reads.
func readAllOver(t *testing.T, h *host, address string) (good, refused int) {
	t.Helper()
	all, _, _ := mappings(t, h.guest.Source(), "--notify", h.notices)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := rsp.NewConn(conn, rsp.DefaultLimit)
	ask(t, client, "QStartNoAckMode")
	client.StartNoAck()
	ask(t, client, "?")
	const step, some = 256 << 10, 64 // bytes
	for _, m := range all {
		places := []uint64{m.end() - some/2}
		for va := m.va(); va != m.end(); va += min(step, m.end()-va) {
			places = append(places, va)
		}
		for _, va := range places {
			if reply := ask(t, client, fmt.Sprintf("m%x,%x", va, some)); reply[0] == 'E' {
				refused++
			} else {
				good++
			}
		}
	}
	return good, refused
}

// ask sends a packet and returns the reply.
func ask(t *testing.T, c *rsp.Conn, packet string) []byte {
	t.Helper()
	if err := c.Write([]byte(packet)); err != nil {
		t.Fatal(err)
	}
	for {
		kind, reply, err := c.Read()
		if err != nil {
			t.Fatal(errors.Join(fmt.Errorf("%s", packet), err))
		}
		if kind == rsp.Packet {
			return reply
		}
	}
}
