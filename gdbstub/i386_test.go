package gdbstub_test

import (
	"strings"
	"testing"

	"physgdb/gdbstub"
	"physgdb/gdbstub/tdesc"
)

// narrow is a program with 32-bit pointers.
type narrow struct {
	*bare
	description *tdesc.Description
}

func (n *narrow) Description() *tdesc.Description { return n.description }

func TestGdbTakesDescriptionsOf32BitPrograms(t *testing.T) {
	const code = 0x8049000
	for _, tc := range []struct {
		description *tdesc.Description
		registers   gdbstub.Registers
		want        []string
	}{
		{
			tdesc.I386(),
			gdbstub.Registers{"eip": code, "esp": 0xff900000, "ebx": 0x23232323, "orig_eax": 29, "cr3": 0x1000, "cs": 0x23},
			[]string{`currently "i386"`, "pc 0x8049000", "sp 0xff900000", "bx 0x23232323", "call 29", "pointer 4", "cr3 0x1000"},
		}, {
			tdesc.X32(),
			gdbstub.Registers{"rip": code, "rsp": 0xff900000, "rbx": 0x2323232323232323, "cr3": 0x1000, "cs": 0x33},
			[]string{`currently "i386:x64-32"`, "pc 0x8049000", "sp 0xff900000", "bx 0x2323232323232323", "pointer 4", "cr3 0x1000"},
		},
	} {
		b := newBare()
		b.registers = map[gdbstub.ThreadID]gdbstub.Registers{1: tc.registers, 2: tc.registers, 0x1f: tc.registers}
		b.memory = []region{{code, []byte{0xcd, 0x80, 0x90, 0x90}}}
		bx, call := "$rbx", "0"
		if tc.description.Architecture == "i386" {
			bx, call = "$ebx", "$orig_eax"
		}
		out := gdb(t, "target remote "+serve(t, open(&narrow{b, tc.description}), nil), "show architecture",
			`printf "pc %#x\n", (unsigned)$pc`, `printf "sp %#x\n", (unsigned)$sp`, `printf "bx %#llx\n", (unsigned long long)`+bx,
			`printf "call %d\n", `+call, `printf "pointer %d\n", sizeof(char *)`, `printf "cr3 %#x\n", (unsigned)$cr3`,
			"info registers", "x/2i $pc")
		for _, want := range append(tc.want, "int    $0x80") {
			if !strings.Contains(out, want) {
				t.Errorf("%s: gdb does not print %q", tc.description.Architecture, want)
			}
		}
		if strings.Contains(out, "rejected") {
			t.Errorf("%s: gdb rejects the description", tc.description.Architecture)
		}
	}
}

// TestNoDescriptionWithoutAProcess: else gdb takes that of the machine for that of a 32-bit
// program.
func TestNoDescriptionWithoutAProcess(t *testing.T) {
	c := connect(t, newAble())
	c.ask("qSupported:multiprocess+")
	const read = "qXfer:features:read:target.xml:0,10"
	if part := c.ask(read); !strings.HasPrefix(part, "m<?xml") {
		t.Errorf("the machine's description begins with %q", part)
	}
	c.expect("!", "OK")
	c.expect(read, "E00")
	c.ask("vAttach;1")
	if part := c.ask(read); !strings.HasPrefix(part, "m<?xml") {
		t.Errorf("once attached, the description begins with %q", part)
	}
}

var _ gdbstub.Describer = (*narrow)(nil)
