package gdbstub_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"physgdb/gdbstub"
	"physgdb/gdbstub/tdesc"
)

// region is a piece of a fake machine's memory.
type region struct {
	addr uint64
	data []byte
}

var errHole = errors.New("nothing is mapped there")

// readRegions reads like a Target: the good bytes up to the first hole.
func readRegions(regions []region, addr uint64, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		got := 0
		for _, r := range regions {
			if at := addr + uint64(n) - r.addr; at < uint64(len(r.data)) {
				got = copy(p[n:], r.data[at:])
				break
			}
		}
		if got == 0 {
			return n, errHole
		}
		n += got
	}
	return n, nil
}

// bare is a machine with the three methods and no abilities.
type bare struct {
	threads   []gdbstub.Thread
	registers map[gdbstub.ThreadID]gdbstub.Registers
	memory    []region
}

func (b *bare) Threads(context.Context) ([]gdbstub.Thread, error) { return b.threads, nil }

func (b *bare) Registers(_ context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	return b.registers[id], nil
}

func (b *bare) ReadMemory(_ context.Context, _ gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	return readRegions(b.memory, addr, p)
}

const (
	text  = 0xffffffff9d000000 // where the fake kernel runs
	slide = 0x1c000000
	stack = 0xffffc90000000000

	vmcoreInfo = "OSRELEASE=0.0-synthetic\nSYMBOL(init_task)=ffffffff9d002000\nPAGESIZE=4096\n"
)

// newBare is a small machine: three threads and two pages with a hole after them.
func newBare() *bare {
	page := make([]byte, 0x2000)
	for i := range page {
		page[i] = byte(i)
	}
	return &bare{
		threads: []gdbstub.Thread{
			{ID: 1, Name: "swapper/0", Text: "CPU 0 idle", Core: 0},
			{ID: 2, Name: "bash", Text: "pid 77", Core: -1},
			{ID: 0x1f, Name: "a<b>&\"c\x01", Core: 1},
		},
		registers: map[gdbstub.ThreadID]gdbstub.Registers{
			1: {"rax": 0x1122334455667788, "rip": text, "rsp": stack, "eflags": 0x246, "cr3": 0x1000},
			2: {"rip": text + 0x10, "rsp": stack + 0x10},
		},
		memory: []region{{text, page}},
	}
}

// able has every ability.
type able struct {
	*bare
	libraries []gdbstub.Library
	tables    []gdbstub.OSTable
	listed    atomic.Int32 // calls of Threads
	borrowed  atomic.Pointer[map[string]uint64]
	closed    atomic.Bool
}

func newAble() *able { return &able{bare: newBare()} }

func (a *able) Threads(ctx context.Context) ([]gdbstub.Thread, error) {
	a.listed.Add(1)
	return a.bare.Threads(ctx)
}

func (a *able) WriteRegister(_ context.Context, id gdbstub.ThreadID, name string, value uint64) error {
	if name != "cr3" {
		return fmt.Errorf("%s of a dead machine cannot be set, only cr3", name)
	}
	a.registers[id]["cr3"] = value
	return nil
}

func (a *able) Relocation(context.Context) (uint64, uint64, bool) { return text, slide, true }

func (a *able) WantedSymbols() []string { return []string{"linux_banner", "no_such_symbol"} }

func (a *able) BorrowSymbols(_ context.Context, found map[string]uint64) error {
	a.borrowed.Store(&found)
	return nil
}

func (a *able) Monitor(_ context.Context, w io.Writer, line string) error {
	if line != "hello" {
		return fmt.Errorf("unknown command %q", line)
	}
	_, err := fmt.Fprintln(w, "hello, user")
	return err
}

func (a *able) Libraries(context.Context) ([]gdbstub.Library, error) { return a.libraries, nil }

func (a *able) OSTables() []gdbstub.OSTable { return a.tables }

func (a *able) VMCoreInfo(context.Context) ([]byte, error) { return []byte(vmcoreInfo), nil }

// SearchMemory finds a pattern in any region of the machine; a search that reaches address 0 fails.
func (a *able) SearchMemory(_ context.Context, _ gdbstub.ThreadID, addr, length uint64, pattern []byte) (uint64, bool, error) {
	if addr == 0 {
		return 0, false, errors.New("3% were searched; try $more")
	}
	for _, r := range a.memory {
		for i := range r.data {
			at := r.addr + uint64(i)
			if bytes.HasPrefix(r.data[i:], pattern) && at >= addr && at-addr+uint64(len(pattern)) <= length {
				return at, true, nil
			}
		}
	}
	return 0, false, nil
}

// loadedAt is where the fake kernel was linked to be loaded.
const loadedAt = 0x1000000

func (a *able) ReadLoaded(_ context.Context, _ gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	return readRegions(a.memory, addr-loadedAt+text, p)
}

func (a *able) WhyHalted() string { return "This kernel has panicked: it cannot run." }

func (a *able) Description() *tdesc.Description { return tdesc.AMD64() }

func (a *able) Close() error {
	a.closed.Store(true)
	return nil
}

// open makes the Opener of one ready target.
func open(t gdbstub.Target) gdbstub.Opener {
	return func(context.Context) (gdbstub.Target, error) { return t, nil }
}

// word is the bytes of a stack slot.
func word(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
