package tdesc

// AMD64 returns the registers of an x86-64 CPU in kernel mode: gdb's core feature with the x87
// part, without which gdb rejects the description; the segment bases; and the control registers in
// a feature of our own.
func AMD64() *Description {
	return &Description{
		Architecture: "i386:x86-64",
		OSABI:        "none",
		Triple:       "x86_64-unknown-unknown",
		Features:     []Feature{amd64Core(), amd64Segments(), amd64System()},
	}
}

// amd64Core is the feature of gdb/features/i386/64bit-core.xml, in its order.
func amd64Core() Feature {
	f := Feature{Name: "org.gnu.gdb.i386.core", Flags: []Flags{eflagsBits()}}
	general := func(typ string, bits int, names ...string) {
		for _, name := range names {
			f.Registers = append(f.Registers, Register{Name: name, Bits: bits, Type: typ, Group: "general"})
		}
	}
	general("int64", 64, "rax", "rbx", "rcx", "rdx", "rsi", "rdi")
	general("data_ptr", 64, "rbp", "rsp")
	general("int64", 64, "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
	general("code_ptr", 64, "rip")
	general("i386_eflags", 32, "eflags")
	general("int32", 32, "cs", "ss", "ds", "es", "fs", "gs")
	f.Registers = append(f.Registers, x87Registers()...)
	return f
}

// LinuxAMD64 is the feature by which gdb knows a program of Linux: the number of the system call
// that it is in.
func LinuxAMD64() Feature {
	return Feature{
		Name:      "org.gnu.gdb.i386.linux",
		Registers: []Register{{Name: "orig_rax", Bits: 64, Type: "int64"}},
	}
}

// SSEAMD64 is the feature of gdb/features/i386/64bit-sse.xml. gdb aborts at `generate-core-file` of
// a program without it.
func SSEAMD64() Feature { return sse(16) }

func amd64Segments() Feature {
	return Feature{
		Name: "org.gnu.gdb.i386.segments",
		Registers: []Register{
			{Name: "fs_base", Bits: 64, Type: "int64"},
			{Name: "gs_base", Bits: 64, Type: "int64"},
		},
	}
}

// amd64System holds what decides an address space and how it is read. gdb shows it by `info
// registers`; of its own groups of registers, 13 lists none of these under system.
func amd64System() Feature {
	system := func(name, typ string) Register {
		return Register{Name: name, Bits: 64, Type: typ, Group: "system"}
	}
	return Feature{
		Name:  "physgdb.amd64.system",
		Flags: []Flags{cr0Bits(), cr4Bits(), eferBits()},
		Registers: []Register{
			system("cr0", "cr0_flags"), system("cr2", "int64"), system("cr3", "int64"),
			system("cr4", "cr4_flags"), system("efer", "efer_flags"), system("k_gs_base", "int64"),
		},
	}
}

// The names of the bits are those of the AMD64 Architecture Programmer's Manual, volume 2,
// chapter 3.

func eflagsBits() Flags {
	return Flags{ID: "i386_eflags", Bytes: 4, Fields: []Field{
		bit("CF", 0), bit("PF", 2), bit("AF", 4), bit("ZF", 6), bit("SF", 7), bit("TF", 8), bit("IF", 9),
		bit("DF", 10), bit("OF", 11), {"IOPL", 12, 13}, bit("NT", 14), bit("RF", 16), bit("VM", 17), bit("AC", 18),
		bit("VIF", 19), bit("VIP", 20), bit("ID", 21),
	}}
}

func cr0Bits() Flags {
	return Flags{ID: "cr0_flags", Bytes: 8, Fields: []Field{
		bit("PE", 0), bit("MP", 1), bit("EM", 2), bit("TS", 3), bit("ET", 4), bit("NE", 5), bit("WP", 16),
		bit("AM", 18), bit("NW", 29), bit("CD", 30), bit("PG", 31),
	}}
}

func cr4Bits() Flags {
	return Flags{ID: "cr4_flags", Bytes: 8, Fields: []Field{
		bit("VME", 0), bit("PVI", 1), bit("TSD", 2), bit("DE", 3), bit("PSE", 4), bit("PAE", 5), bit("MCE", 6),
		bit("PGE", 7), bit("PCE", 8), bit("OSFXSR", 9), bit("OSXMMEXCPT", 10), bit("UMIP", 11), bit("LA57", 12),
		bit("VMXE", 13), bit("SMXE", 14), bit("FSGSBASE", 16), bit("PCIDE", 17), bit("OSXSAVE", 18),
		bit("SMEP", 20), bit("SMAP", 21), bit("PKE", 22), bit("CET", 23), bit("PKS", 24),
	}}
}

func eferBits() Flags {
	return Flags{ID: "efer_flags", Bytes: 8, Fields: []Field{
		bit("SCE", 0), bit("LME", 8), bit("LMA", 10), bit("NXE", 11), bit("SVME", 12), bit("LMSLE", 13),
		bit("FFXSR", 14), bit("TCE", 15),
	}}
}

func bit(name string, n int) Field { return Field{Name: name, Start: n, End: n} }
