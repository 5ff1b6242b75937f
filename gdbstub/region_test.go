package gdbstub_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"testing"

	"physgdb/gdbstub"
)

// mapped is what a machine of the tests has mapped, as thread 2 sees it; the others see nothing.
var mapped = []gdbstub.Region{
	{First: 0, Last: 0xfff},
	{First: 0x1000, Last: 0x2fff, Mapped: true, Read: true, Execute: true, Name: "a;b\n"},
	{First: 0x3000, Last: 0x3fff, Mapped: true, Read: true, Write: true},
	{First: 0x4000, Last: ^uint64(0) - 0x1000},
	{First: ^uint64(0) - 0xfff, Last: ^uint64(0), Mapped: true},
}

func (a *able) Region(_ context.Context, id gdbstub.ThreadID, addr uint64) (gdbstub.Region, error) {
	switch {
	case addr == 0xbad:
		return gdbstub.Region{}, errors.New("the tables are torn")
	case addr == 0x11e:
		return gdbstub.Region{First: 0x1000, Last: 0x1fff}, nil
	case addr == ^uint64(0):
		return gdbstub.Region{First: addr, Last: addr}, nil
	case id != 2:
		return gdbstub.Region{First: 0, Last: ^uint64(0)}, nil
	}
	for _, r := range mapped {
		if r.First <= addr && addr <= r.Last {
			return r, nil
		}
	}
	return gdbstub.Region{}, nil
}

func TestMemoryRegionInfo(t *testing.T) {
	c := connect(t, newAble())
	c.expect("qMemoryRegionInfo:0", "start:0;size:ffffffffffffffff;") // 2^64-1 is where lldb ends its walk
	c.expect("Hg2", "OK")
	for packet, want := range map[string]string{
		"qMemoryRegionInfo:":                  "OK",
		"qMemoryRegionInfo":                   "E01",
		"qMemoryRegionInfo:x":                 "E01",
		"qMemoryRegionInfo:10000000000000000": "E01",
		"qMemoryRegionInfo:0":                 "start:0;size:1000;",
		"qMemoryRegionInfo:fff":               "start:0;size:1000;",
		"qMemoryRegionInfo:1000":              "start:1000;size:2000;permissions:rx;name:" + hex.EncodeToString([]byte("a;b ")) + ";",
		"qMemoryRegionInfo:3FFF":              "start:3000;size:1000;permissions:rw;",
		"qMemoryRegionInfo:4000":              "start:4000;size:ffffffffffffb000;",
		"qMemoryRegionInfo:fffffffffffff000":  "start:fffffffffffff000;size:fff;permissions:;",
		"qMemoryRegionInfo:ffffffffffffffff":  "start:ffffffffffffffff;size:1;",
		"qMemoryRegionInfo:bad":               "start:bad;size:1;error:" + hex.EncodeToString([]byte("the tables are torn")) + ";",
	} {
		c.expect(packet, want)
	}
	if got := c.ask("qMemoryRegionInfo:11e"); !strings.HasPrefix(got, "start:11e;size:1;error:") {
		t.Errorf("a region that does not contain the address is reported: %q", got)
	}
}

func TestWithoutRegionsThePacketIsUnknown(t *testing.T) {
	connect(t, newBare()).expect("qMemoryRegionInfo:1000", "")
}

// FuzzMemoryRegionInfo: whatever is asked, every region has a size, and none runs over the end of
// the address space.
func FuzzMemoryRegionInfo(f *testing.F) {
	for _, seed := range []string{":", ":0", ":1000", ":ffffffffffffffff", ":fffffffffffff000", ":-1", "", ":0,1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		c := pipe(t, newAble())
		if err := c.wire.Write(append([]byte("qMemoryRegionInfo"), args...)); err != nil {
			t.Skip() // not a packet
		}
		fields := map[string]uint64{}
		reply := c.receive()
		for field := range strings.SplitSeq(reply, ";") {
			if name, value, ok := strings.Cut(field, ":"); ok && (name == "start" || name == "size") {
				fields[name] = hexNumber(t, value)
			}
		}
		if size, ok := fields["size"]; ok && (size == 0 || fields["start"]+(size-1) < fields["start"]) {
			t.Errorf("%q is answered %q", args, reply)
		}
	})
}

// hexNumber reads a number of a reply.
func hexNumber(t *testing.T, digits string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
