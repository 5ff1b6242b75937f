package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Guest is a machine that has panicked and is frozen, or a running one if configured.
type Guest struct {
	// Kernel is its kernel.
	Kernel *Kernel
	// Facts is the guest's report about itself.
	Facts Facts

	config     Config
	dir        string
	ownsDir    bool
	collector  *collector // nil if there is another listener for notices
	monitor    *monitor
	qemu       *os.Process
	qemuExited chan struct{}
	closing    sync.Once
}

func (g *Guest) path(name string) string { return filepath.Join(g.dir, name) }

// Dir returns the directory of the guest's files.
func (g *Guest) Dir() string { return g.dir }

// RAMFile returns the file with the guest's RAM. Up to 2.75 GiB, an offset in the file is a
// physical address; see also [Guest.Source].
func (g *Guest) RAMFile() string { return g.path(ramFile) }

// RAMFiles returns the files with the guest's RAM: one, or one for each NUMA node.
func (g *Guest) RAMFiles() []string {
	if g.config.Nodes == 0 {
		return []string{g.RAMFile()}
	}
	var files []string
	for i := range g.config.Nodes {
		files = append(files, g.path(nodeFile(i)))
	}
	return files
}

// Source returns the SOURCE of the guest's physical memory for physgdb: file:PATH, with a map= if
// RAM is split around the PCI hole.
func (g *Guest) Source() string {
	files := g.RAMFiles()
	var keys []string
	if layout := memoryMap(uint64(g.config.MemoryMiB) << 20); layout != "" {
		keys = append(keys, layout)
	}
	for _, file := range files[1:] {
		keys = append(keys, "file="+file)
	}
	if len(keys) == 0 {
		return "file:" + files[0]
	}
	return "file:" + files[0] + "?" + strings.Join(keys, "&")
}

// memoryMap returns the layout of RAM in QEMU's q35 machine: above a certain size, 2 GiB are below
// the hole and the rest from 4 GiB up (hw/i386/pc_q35.c).
func memoryMap(size uint64) string {
	const split, low, high = 0xb0000000, 0x80000000, 1 << 32
	if size < split {
		return ""
	}
	return fmt.Sprintf("map=0:%#x:0,%#x:%#x:%#x", low, uint64(high), size-low, low)
}

// SerialLog returns the file with the output of the serial console.
func (g *Guest) SerialLog() string { return g.path(serialFile) }

// QMPSocket returns a monitor socket of QEMU that this package does not use; it accepts one client
// at a time.
func (g *Guest) QMPSocket() string { return g.path(qmpSocket) }

// ClockELF returns the program of the clock process, with debug information.
func (g *Guest) ClockELF() string { return g.path("clock") }

// ExtrasELF returns the program of spinner, stuck and crowd, with debug information.
func (g *Guest) ExtrasELF() string { return g.path("extras") }

// CompatRegisters returns the general registers of the process compat, by gdb's names.
func CompatRegisters() map[string]uint32 {
	return map[string]uint32{"ecx": 0x21212121, "edx": 0x22222222, "ebx": 0x23232323, "esi": 0x26262626, "edi": 0x27272727}
}

// CompatELF returns the 32-bit program compat, with debug information.
func (g *Guest) CompatELF() string { return g.path("compat") }

// Notices returns the datagrams of an event, "hello" or "panic" or "" for all, in the order of
// arrival. There are none if the guest was booted with a NoticePort.
func (g *Guest) Notices(event string) [][]byte {
	if g.collector == nil {
		return nil
	}
	return g.collector.notices(event)
}

// Clock returns the last time that the clock reported, which changes every second on a running
// guest.
func (g *Guest) Clock() (int64, error) {
	said, err := readWitness(g.path(witnessFile))
	if err != nil {
		return 0, err
	}
	return said.lastClock, nil
}

// QMP executes one command of QEMU's machine protocol; nil arguments mean none.
func (g *Guest) QMP(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	return g.monitor.execute(ctx, command, arguments)
}

// HMP executes one line of QEMU's human monitor on the first CPU, such as "gva2gpa
// 0xffffffff81000000", and returns its output.
func (g *Guest) HMP(ctx context.Context, line string) (string, error) { return g.HMPOn(ctx, 0, line) }

// HMPOn is HMP on another CPU.
func (g *Guest) HMPOn(ctx context.Context, cpu int, line string) (string, error) {
	arguments := map[string]any{"command-line": line, "cpu-index": cpu}
	answer, err := g.QMP(ctx, "human-monitor-command", arguments)
	if err != nil {
		return "", fmt.Errorf("HMP %q: %w", line, err)
	}
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", fmt.Errorf("HMP %q: %w", line, err)
	}
	return text, nil
}

// Close ends the guest and removes its RAM, and its directory if it was a temporary one.
func (g *Guest) Close() error {
	var err error
	g.closing.Do(func() { err = g.close() })
	return err
}

func (g *Guest) close() error {
	if g.qemu != nil {
		_ = g.qemu.Kill() // it may have ended already
		<-g.qemuExited
	}
	if g.monitor != nil {
		g.monitor.close()
	}
	if g.collector != nil {
		g.collector.close()
	}
	if g.ownsDir {
		return os.RemoveAll(g.dir)
	}
	for _, file := range g.RAMFiles() {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the guest's RAM: %w", err)
		}
	}
	return nil
}
