package gdbstub_test

import (
	"context"
	"strings"
	"testing"

	"physgdb/gdbstub"
)

// physical is a machine whose memory can be read by physical addresses.
type physical struct {
	*able
	on bool
}

func (p *physical) PhysicalMode() bool      { return p.on }
func (p *physical) SetPhysicalMode(on bool) { p.on = on }

func (p *physical) ReadMemory(ctx context.Context, id gdbstub.ThreadID, addr uint64, b []byte) (int, error) {
	if p.on {
		addr += text
	}
	return p.able.ReadMemory(ctx, id, addr, b)
}

func TestPhysicalMode(t *testing.T) {
	c := connect(t, &physical{able: newAble()})
	for _, step := range []struct{ packet, want string }{
		{"qqemu.Supported", "sstepbits;sstep;PhyMemMode"},
		{"qqemu.PhyMemMode", "0"},
		{"m10,2", "E14"},
		{"Qqemu.PhyMemMode:1", "OK"},
		{"qqemu.PhyMemMode", "1"},
		{"m10,2", "1011"},
		{"Qqemu.PhyMemMode:2", ""},
		{"Qqemu.PhyMemMode:", ""},
		{"Qqemu.PhyMemMode", ""},
		{"qqemu.PhyMemMode", "1"},
		{"Qqemu.PhyMemMode:0", "OK"},
		{"m10,2", "E14"},
		{"qqemu.sstepbits", "ENABLE=1,NOIRQ=2,NOTIMER=4"}, // QEMU 7.2's answer
		{"qqemu.sstep", "0x0"},
		{"Qqemu.sstep=1", "E01"},
		{"qqemu.sstep=1", ""},
		{"qqemu", ""},
	} {
		c.expect(step.packet, step.want)
	}
}

// TestRecognisedAsQEMU asks as gef does. gdb's own qOffsets, before the first g, must still move
// the kernel.
func TestRecognisedAsQEMU(t *testing.T) {
	c := connect(t, &physical{able: newAble()})
	c.ask("qSupported:multiprocess+")
	moved := c.ask("qOffsets")
	if !strings.HasPrefix(moved, "TextSeg=") {
		t.Fatalf("gdb gets %q", moved)
	}
	c.expect("Qqemu.sstepbits", "ENABLE=1,NOIRQ=2,NOTIMER=4") // as a script that runs while gdb connects
	c.expect("qOffsets", moved)
	c.ask("g")
	c.expect("qOffsets", "")
	c.expect("Qqemu.PhyMemMode:1", "OK")
	c.expect("Qqemu.PhyMemMode:0", "OK")
	c.expect("qOffsets", "")
}

// TestNotAskedAsQEMU has a client ask for offsets again that is no such script.
func TestNotAskedAsQEMU(t *testing.T) {
	c := connect(t, &physical{able: newAble()})
	c.ask("qSupported:multiprocess+")
	c.ask("g")
	if moved := c.ask("qOffsets"); !strings.HasPrefix(moved, "TextSeg=") {
		t.Errorf("gdb gets %q", moved)
	}
}

func TestWithoutPhysicalModeQEMUsPacketsAreUnknown(t *testing.T) {
	c := connect(t, newBare())
	for _, packet := range []string{"qqemu.Supported", "qqemu.PhyMemMode", "Qqemu.sstepbits", "Qqemu.sstep=1", "Qqemu.PhyMemMode:1", "Qqemu.PhyMemMode:0"} {
		c.expect(packet, "")
	}
}
