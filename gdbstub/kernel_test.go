package gdbstub_test

import (
	"bytes"
	"debug/elf"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"physgdb/gdbstub"
)

// buildKernel compiles testdata/kernel.c and returns the path of the ELF file.
func buildKernel(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kernel")
	source, err := filepath.Abs("testdata/kernel.c")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("gcc", "-g", "-O0", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-mcmodel=kernel",
		"-fno-stack-protector", "-fcf-protection=none", "-mno-red-zone", "-fno-omit-frame-pointer",
		"-Wl,-Ttext-segment=0xffffffff81000000", "-o", path, source).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return path
}

// newKernel is a machine whose memory is the ELF file at path, moved by slide, stopped in inner()
// called by outer().
func newKernel(t testing.TB, path string) *able {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := newAble()
	m.memory = loadSegments(t, f)
	at := runtimeSymbols(t, f)

	var frames bytes.Buffer // [saved rbp, return address] of inner and outer
	frames.Write(make([]byte, 0x800))
	for _, slot := range []uint64{stack + 0x840, at["in_outer"], 0, 0, 0, 0, 0, 0, stack + 0x880, at["in_start"]} {
		frames.Write(word(slot))
	}
	frames.Write(make([]byte, 0x800))
	m.memory = append(m.memory, region{stack, frames.Bytes()})
	for _, thread := range m.threads {
		m.registers[thread.ID] = gdbstub.Registers{
			"rip": at["inside"], "rbp": stack + 0x800, "rsp": stack + 0x7c0, "eflags": 0x246, "cs": 0x10, "ss": 0x18,
			"cr0": 0x80050033, "cr3": 0x1000, "cr4": 0x6f0, "efer": 0xd01,
		}
	}
	return m
}

func loadSegments(t testing.TB, f *elf.File) []region {
	t.Helper()
	var regions []region
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		data := make([]byte, p.Memsz)
		if _, err := io.ReadFull(p.Open(), data[:p.Filesz]); err != nil {
			t.Fatal(err)
		}
		regions = append(regions, region{p.Vaddr + slide, data})
	}
	return regions
}

func runtimeSymbols(t testing.TB, f *elf.File) map[string]uint64 {
	t.Helper()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[string]uint64, len(symbols))
	for _, s := range symbols {
		at[s.Name] = s.Value + slide
	}
	return at
}
