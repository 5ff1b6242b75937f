package gdbstub_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"physgdb/gdbstub"
)

// oracle is a machine with every ability whose answers all contain its key: a reply that reaches
// the wrong client, or answers another request, is seen.
type oracle struct {
	key     uint64
	threads []gdbstub.Thread
	cr3     uint64
	hang    time.Duration // that a read of the page at slowPage lasts
	stall   chan struct{} // if not nil every read lasts until it is closed
	open    *atomic.Int64 // targets that are not closed
}

const slowPage = 0x5105000

func newOracle(key uint64, count *atomic.Int64) *oracle {
	o := &oracle{key: key, cr3: key << 12, open: count}
	for id := range gdbstub.ThreadID(5) {
		o.threads = append(o.threads, gdbstub.Thread{ID: id + 1, Name: fmt.Sprintf("%x-%x", key, id+1), Core: int(id)})
	}
	count.Add(1)
	return o
}

// byteAt is what lies at an address.
func byteAt(key, addr uint64) byte { return byte((addr ^ key) * 0x9e3779b97f4a7c15 >> 56) }

// isHole says whether nothing is mapped at an address: one page in sixteen.
func isHole(addr uint64) bool { return addr>>12%16 == 7 }

// memoryAt is what a read should give, up to the first hole.
func memoryAt(key, addr uint64, length int) []byte {
	var data []byte
	for i := range uint64(length) {
		if isHole(addr + i) {
			break
		}
		data = append(data, byteAt(key, addr+i))
	}
	return data
}

func (o *oracle) ReadMemory(_ context.Context, _ gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if o.stall != nil {
		<-o.stall
	}
	if addr&^0xfff == slowPage {
		time.Sleep(o.hang)
	}
	for i := range p {
		if isHole(addr + uint64(i)) {
			return i, errHole
		}
		p[i] = byteAt(o.key, addr+uint64(i))
	}
	return len(p), nil
}

func (o *oracle) Threads(context.Context) ([]gdbstub.Thread, error) { return o.threads, nil }

func (o *oracle) Registers(_ context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	return gdbstub.Registers{"rax": o.key, "rip": uint64(id), "cr3": o.cr3}, nil
}

func (o *oracle) WriteRegister(_ context.Context, _ gdbstub.ThreadID, name string, value uint64) error {
	if name != "cr3" {
		return errBroken
	}
	o.cr3 = value
	return nil
}

func (o *oracle) Monitor(_ context.Context, w io.Writer, line string) error {
	_, err := fmt.Fprintf(w, "%x:%s", o.key, hex.EncodeToString([]byte(line)))
	return err
}

func (o *oracle) OSTables() []gdbstub.OSTable {
	rows := func(context.Context) ([][]string, error) { return [][]string{{fmt.Sprintf("%x", o.key)}}, nil }
	return []gdbstub.OSTable{{Name: "keys", Columns: []string{"key"}, Rows: rows}}
}

func (o *oracle) Libraries(context.Context) ([]gdbstub.Library, error) {
	return []gdbstub.Library{{Name: fmt.Sprintf("%x.ko", o.key), Sections: []uint64{0x1000}}}, nil
}

func (o *oracle) OpenProcess(_ context.Context, pid int) (gdbstub.Target, error) {
	return newOracle(o.key+uint64(pid), o.open), nil
}

func (o *oracle) Relocation(context.Context) (uint64, uint64, bool) { return o.key, o.key, true }
func (o *oracle) WantedSymbols() []string                           { return []string{"a", "b"} }
func (o *oracle) VMCoreInfo(context.Context) ([]byte, error)        { return []byte(vmcoreInfo), nil }
func (o *oracle) Auxv(context.Context) ([]byte, error)              { return word(o.key), nil }
func (o *oracle) Refresh(context.Context) error                     { return nil }
func (o *oracle) WhyHalted() string                                 { return "It is an oracle." }

func (o *oracle) BorrowSymbols(context.Context, map[string]uint64) error { return nil }

func (o *oracle) Close() error {
	o.open.Add(-1)
	return nil
}
