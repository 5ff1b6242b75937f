package tdesc

import "fmt"

// I386 returns the registers of a 32-bit program on an x86-64 CPU, in the features by which gdb
// knows a program of Linux. The control registers are in a feature of our own: they are those of
// the CPU, which runs in 64-bit mode in the kernel. gdb rejects a description for i386 that has
// segment bases.
func I386() *Description {
	return &Description{
		Architecture: "i386",
		OSABI:        "none",
		Triple:       "i386-unknown-unknown",
		Features:     []Feature{i386Core(), amd64System(), i386SSE(), i386Linux()},
	}
}

// X32 returns the registers of a program with 64-bit registers and 32-bit pointers (x32). They are
// those of [AMD64], but that none has the type of a pointer (gdb/features/i386/x32-core.xml).
func X32() *Description {
	d := AMD64()
	d.Architecture, d.Triple = "i386:x64-32", "x86_64-unknown-unknown-gnux32"
	core := d.Features[0].Registers
	for i := range core {
		if core[i].Type == "data_ptr" || core[i].Type == "code_ptr" {
			core[i].Type = "int64"
		}
	}
	return d
}

// i386Core is the feature of gdb/features/i386/32bit-core.xml, in its order.
func i386Core() Feature {
	f := Feature{Name: "org.gnu.gdb.i386.core", Flags: []Flags{eflagsBits()}}
	general := func(typ string, names ...string) {
		for _, name := range names {
			f.Registers = append(f.Registers, Register{Name: name, Bits: 32, Type: typ, Group: "general"})
		}
	}
	general("int32", "eax", "ecx", "edx", "ebx")
	general("data_ptr", "esp", "ebp")
	general("int32", "esi", "edi")
	general("code_ptr", "eip")
	general("i386_eflags", "eflags")
	general("int32", "cs", "ss", "ds", "es", "fs", "gs")
	f.Registers = append(f.Registers, x87Registers()...)
	return f
}

// i386SSE is the feature of gdb/features/i386/32bit-sse.xml, which gdb needs for
// `generate-core-file`.
func i386SSE() Feature { return sse(8) }

// i386Linux is the feature of gdb/features/i386/32bit-linux.xml.
func i386Linux() Feature {
	return Feature{
		Name:      "org.gnu.gdb.i386.linux",
		Registers: []Register{{Name: "orig_eax", Bits: 32, Type: "int"}},
	}
}

// sse returns the SSE feature with so many vector registers.
func sse(count int) Feature {
	f := Feature{Name: "org.gnu.gdb.i386.sse"}
	for n := range count {
		f.Registers = append(f.Registers, Register{Name: fmt.Sprintf("xmm%d", n), Bits: 128, Type: "uint128", Group: "vector"})
	}
	f.Registers = append(f.Registers, Register{Name: "mxcsr", Bits: 32, Type: "int", Group: "vector"})
	return f
}

// x87Registers are those of the floating-point unit, which are part of the core feature of either
// width.
func x87Registers() []Register {
	var all []Register
	for n := range 8 {
		all = append(all, Register{Name: fmt.Sprintf("st%d", n), Bits: 80, Type: "i387_ext", Group: "float"})
	}
	for _, name := range []string{"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"} {
		all = append(all, Register{Name: name, Bits: 32, Type: "int", Group: "float"})
	}
	return all
}
