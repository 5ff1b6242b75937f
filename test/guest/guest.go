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

// Guest is a machine that has panicked and is frozen, or a running one if that was asked for.
type Guest struct {
	// Kernel is what it runs.
	Kernel *Kernel
	// Facts are what the guest said of itself.
	Facts Facts

	config     Config
	dir        string
	ownsDir    bool
	collector  *collector // nil when someone else collects notices
	monitor    *monitor
	qemu       *os.Process
	qemuExited chan struct{}
	closing    sync.Once
}

func (g *Guest) path(name string) string { return filepath.Join(g.dir, name) }

// Dir is the directory of the guest's files.
func (g *Guest) Dir() string { return g.dir }

// RAMFile is the guest's RAM. Up to 2.75 GiB an offset in the file is a physical address; see also
// [Guest.Source].
func (g *Guest) RAMFile() string { return g.path(ramFile) }

// RAMFiles are the files of the guest's RAM: one, or one for each NUMA node.
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

// Source names the guest's physical memory as physgdb does: file:PATH, with a map= when RAM is
// split around the PCI hole.
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

// memoryMap is where QEMU's q35 machine puts so many bytes of RAM: from a certain size on, 2 GiB
// lie below the hole and the rest from 4 GiB up (hw/i386/pc_q35.c).
func memoryMap(size uint64) string {
	const split, low, high = 0xb0000000, 0x80000000, 1 << 32
	if size < split {
		return ""
	}
	return fmt.Sprintf("map=0:%#x:0,%#x:%#x:%#x", low, uint64(high), size-low, low)
}

// SerialLog is the file with everything that came over the serial console.
func (g *Guest) SerialLog() string { return g.path(serialFile) }

// QMPSocket is a monitor socket of QEMU that the guest itself does not use; it takes one client at
// a time.
func (g *Guest) QMPSocket() string { return g.path(qmpSocket) }

// ClockELF is the program of the clock process, with debug information.
func (g *Guest) ClockELF() string { return g.path("clock") }

// ExtrasELF is the program of spinner, stuck and crowd, with debug information.
func (g *Guest) ExtrasELF() string { return g.path("extras") }

// CompatRegisters are the general registers of the process compat, by gdb's names.
func CompatRegisters() map[string]uint32 {
	return map[string]uint32{"ecx": 0x21212121, "edx": 0x22222222, "ebx": 0x23232323, "esi": 0x26262626, "edi": 0x27272727}
}

// CompatELF is the 32-bit program compat, with debug information.
func (g *Guest) CompatELF() string { return g.path("compat") }

// Notices are the datagrams of an event, "hello" or "panic" or "" for all, in the order in which
// they came. There are none if the guest was booted with a NoticePort.
func (g *Guest) Notices(event string) [][]byte {
	if g.collector == nil {
		return nil
	}
	return g.collector.notices(event)
}

// Clock is what the clock has last said that it stored, which on a running guest is news every
// second.
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
// 0xffffffff81000000", and returns what a human would see.
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
