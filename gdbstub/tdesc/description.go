// Package tdesc describes the registers of a machine to debuggers: the target description that gdb
// and lldb read as XML (gdb manual, appendix G "Target Descriptions"), and the encoding of values
// in packets. It has the descriptions of x86-64, i386 and x32.
package tdesc

import (
	"bytes"
	"fmt"

	"physgdb/internal/plain"
)

// Description says which registers a machine has. It becomes the target.xml that clients read. The
// order of the registers is the order of their numbers in `g`, `p` and `P`.
type Description struct {
	Architecture string // gdb's name, such as "i386:x86-64"
	OSABI        string // gdb's name, such as "none" or "GNU/Linux"
	Triple       string // LLVM's name, such as "x86_64-unknown-unknown"; not sent to lldb if it is empty
	Features     []Feature
}

// Feature is a group of registers under a name. Names that start with org.gnu.gdb are gdb's and
// have fixed contents.
type Feature struct {
	Name      string
	Flags     []Flags // types used by the Registers
	Registers []Register
}

// Register describes one register.
type Register struct {
	Name  string
	Bits  int    // width; a multiple of 8
	Type  string // one of gdb's predefined types or the ID of a Flags of the same feature
	Group string // "general", "float", "system"…; empty: gdb decides
}

// Flags is a type of register whose bits have names, which gdb shows by name.
type Flags struct {
	ID     string
	Bytes  int
	Fields []Field
}

// Field is a named range of bits, both ends included.
type Field struct {
	Name       string
	Start, End int
}

// Registers returns all registers in the order of their numbers.
func (d *Description) Registers() []Register {
	var all []Register
	for _, f := range d.Features {
		all = append(all, f.Registers...)
	}
	return all
}

// XML returns the target.xml.
func (d *Description) XML() []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n")
	fmt.Fprintf(&b, "  <architecture>%s</architecture>\n", plain.XML(d.Architecture))
	if d.OSABI != "" {
		fmt.Fprintf(&b, "  <osabi>%s</osabi>\n", plain.XML(d.OSABI))
	}
	for _, f := range d.Features {
		f.writeXML(&b)
	}
	b.WriteString("</target>\n")
	return b.Bytes()
}

func (f Feature) writeXML(b *bytes.Buffer) {
	fmt.Fprintf(b, "  <feature name=\"%s\">\n", plain.XML(f.Name))
	for _, t := range f.Flags {
		t.writeXML(b)
	}
	for _, r := range f.Registers {
		r.writeXML(b)
	}
	b.WriteString("  </feature>\n")
}

func (t Flags) writeXML(b *bytes.Buffer) {
	fmt.Fprintf(b, "    <flags id=\"%s\" size=\"%d\">\n", plain.XML(t.ID), t.Bytes)
	for _, f := range t.Fields {
		fmt.Fprintf(b, "      <field name=\"%s\" start=\"%d\" end=\"%d\"/>\n", plain.XML(f.Name), f.Start, f.End)
	}
	b.WriteString("    </flags>\n")
}

func (r Register) writeXML(b *bytes.Buffer) {
	fmt.Fprintf(b, "    <reg name=\"%s\" bitsize=\"%d\" type=\"%s\"", plain.XML(r.Name), r.Bits, plain.XML(r.Type))
	if r.Group != "" {
		fmt.Fprintf(b, " group=\"%s\"", plain.XML(r.Group))
	}
	b.WriteString("/>\n")
}
