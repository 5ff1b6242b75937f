package gdbstub_test

import (
	"context"
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
		{"qqemu.Supported", "PhyMemMode"},
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
		{"qqemu.sstepbits", ""}, // by its answer pwndbg takes a server for QEMU, with all that QEMU can do
		{"Qqemu.sstep=1", ""},
		{"qqemu", ""},
	} {
		c.expect(step.packet, step.want)
	}
}

func TestWithoutPhysicalModeQEMUsPacketsAreUnknown(t *testing.T) {
	c := connect(t, newBare())
	for _, packet := range []string{"qqemu.Supported", "qqemu.PhyMemMode", "Qqemu.PhyMemMode:1", "Qqemu.PhyMemMode:0"} {
		c.expect(packet, "")
	}
}
