package dwarf

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"physgdb/symbols/internal/symtest"
)

// lineSources are files with functions inlined into functions, one with a part that is seldom run
// and put elsewhere, and one of assembly.
var lineSources = map[string]string{
	"inner.h": `
void use(int, ...);
static inline __attribute__((always_inline)) int innermost(int a) {
	use(a, 1);
	return a * 3 + 1;
}
static inline __attribute__((always_inline)) int middle(int a) {
	for (int i = 0; i < a; i++)
		a += innermost(i);
	return a;
}
`,
	"outer.c": `#include "inner.h"
int other(int);
__attribute__((cold)) void fail(int);
int outer(int a) {
	if (__builtin_expect(a < 0, 0)) {
		fail(middle(a));
		fail(a);
	}
	return middle(a) + innermost(a + 1) - middle(other(a));
}
int global_name(int a) { return outer(a) + innermost(a); }
`,
	"other.c": `#include "inner.h"
static int __attribute__((noinline)) local(int a) { return middle(a) - 1; }
int global_name(int);
int other(int a) {
	int sum = 0;
	while (a--)
		sum += local(a) ^ middle(a + 2);
	return sum;
}
void fail(int a) { use(2, a); }
void use(int a, ...) {}
int main(int argc, char **argv) { return other(argc) + global_name(argc); }
`,
	"asm.S": `.text
.globl assembly
.type assembly, @function
assembly:
	nop
	ret
.size assembly, .-assembly
`,
}

// lineProgram compiles lineSources.
func lineProgram(t testing.TB, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range lineSources {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "program")
	args := append([]string{"-no-pie", "-ffile-prefix-map=" + dir + "=/source", "-o", program}, flags...)
	for _, name := range []string{"outer.c", "other.c", "asm.S"} {
		args = append(args, filepath.Join(dir, name))
	}
	symtest.Tool(t, "", "gcc", args...)
	return program
}

// TestLinesAgreeWithAddr2line asks about every byte of every function.
func TestLinesAgreeWithAddr2line(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remove string // a section
		flags  []string
		extra  string // a flag for what addr2line does not know; the code is the same without
	}{
		{"DWARF 5", "", []string{"-O2", "-gdwarf-5"}, ""},
		{"DWARF 4", "", []string{"-O2", "-gdwarf-4"}, ""},
		{"DWARF 3", "", []string{"-O2", "-gdwarf-3"}, ""},
		{"without optimization", "", []string{"-O0", "-gdwarf-5"}, ""},
		{"64-bit DWARF", "", []string{"-O2", "-gdwarf-5"}, "-gdwarf64"},
		{"compressed by zlib", "", []string{"-O2", "-gdwarf-5", "-gz=zlib"}, ""},
		{"without .debug_aranges", ".debug_aranges", []string{"-O2", "-gdwarf-5"}, ""},
		{"DWARF 4 without .debug_aranges", ".debug_aranges", []string{"-O2", "-gdwarf-4"}, ""},
		{"64-bit DWARF without .debug_aranges", ".debug_aranges", []string{"-O2", "-gdwarf-5"}, "-gdwarf64"},
		{"units that refer to each other", "", []string{"-O2", "-g", "-flto", "-flto-partition=max"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			witness := lineProgram(t, tc.flags...)
			program := witness
			if tc.extra != "" {
				program = lineProgram(t, append(tc.flags, tc.extra)...)
			}
			if tc.remove != "" {
				symtest.Tool(t, "", "objcopy", "--remove-section="+tc.remove, program)
			}
			l, err := OpenLines(program)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			compareLines(t, l, witness, functionBytes(t, program, "outer", "global_name", "local", "other", "fail", "assembly"))
		})
	}
}

// TestUnitsThatReferToEachOther makes sure that the compiler makes such units, for
// TestLinesAgreeWithAddr2line.
func TestUnitsThatReferToEachOther(t *testing.T) {
	for flag, want := range map[string]bool{"-flto": true, "-fno-lto": false} {
		file, err := openDebugFile(lineProgram(t, "-O2", "-g", flag))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got := false
		for h, err := range file.unitHeaders() {
			if err != nil {
				t.Fatal(err)
			}
			got = got || file.crossUnit(h)
		}
		if got != want {
			t.Errorf("%s: %v", flag, got)
		}
	}
}

// functionBytes lists all addresses of functions and of their parts.
func functionBytes(t *testing.T, program string, names ...string) (pcs []uint64) {
	all, err := symtest.Read(program, (*elf.File).Symbols)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		name, _, _ := strings.Cut(s.Name, ".")
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || !slices.Contains(names, name) {
			continue
		}
		for pc := s.Value; pc < s.Value+s.Size; pc++ {
			pcs = append(pcs, pc)
		}
	}
	if len(pcs) < 100 {
		t.Fatalf("only %d bytes of code", len(pcs))
	}
	return pcs
}

// compareLines fails on every difference.
func compareLines(t *testing.T, l *Lines, witness string, pcs []uint64) {
	inlined := 0
	for i, want := range addr2line(t, witness, pcs) {
		frames, err := l.Frames(pcs[i])
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for j := range want {
			if path.Base(want[j].File) == "<artificial>" { // binutils takes the unit's own, which is none
				want[j].File = frames[min(j, len(frames)-1)].File
			}
		}
		if got := framesText(frames); got != framesText(want) {
			t.Errorf("%#x: %s\naddr2line: %s", pcs[i], got, framesText(want))
		}
		for j, f := range frames {
			if f.Inlined != (j < len(frames)-1) {
				t.Errorf("%#x: frame %d of %d: inlined %v", pcs[i], j, len(frames), f.Inlined)
			}
		}
		inlined = max(inlined, len(frames)-1)
	}
	t.Logf("%d addresses are equal, up to %d functions inlined", len(pcs), inlined)
}

// addr2line asks binutils.
func addr2line(t *testing.T, program string, pcs []uint64) (all [][]SourceFrame) {
	var addresses strings.Builder
	for _, pc := range pcs {
		fmt.Fprintf(&addresses, "%#x\n", pc)
	}
	out := symtest.Tool(t, addresses.String(), "addr2line", "-a", "-i", "-f", "-e", program)
	for block := range strings.SplitSeq(strings.TrimPrefix(out, "0x"), "\n0x") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		var frames []SourceFrame
		for i := 1; i+1 < len(lines); i += 2 {
			place, _, _ := strings.Cut(lines[i+1], " (discriminator")
			colon := strings.LastIndexByte(place, ':')
			line, _ := strconv.Atoi(place[colon+1:]) // ? is 0
			frames = append(frames, SourceFrame{Function: unknown(lines[i]), File: unknown(place[:colon]), Line: line})
		}
		all = append(all, frames)
	}
	if len(all) != len(pcs) {
		t.Fatalf("addr2line answers %d of %d", len(all), len(pcs))
	}
	return all
}

func unknown(s string) string {
	if s == "??" {
		return ""
	}
	return s
}

// framesText leaves out what the two write differently: /./ and /../ in names of files.
func framesText(frames []SourceFrame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%s at %s:%d; ", f.Function, path.Clean(f.File), f.Line)
	}
	return b.String()
}

// TestLinesOfTheKernel compares random addresses. Differences that are known: binutils names a
// symbol where there is no function, the unit's own file for lines of headers in parts that were
// split off, and functions of Rust by their linkage names.
func TestLinesOfTheKernel(t *testing.T) {
	const addresses = 400
	symtest.OnVmlinux(t, func(t *testing.T, vmlinux string) {
		l, err := OpenLines(vmlinux)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := symtest.Read(vmlinux, ReadCFI)
		if err != nil {
			t.Fatal(err)
		}
		random := symtest.Dice()
		var pcs []uint64
		for range addresses {
			fde := c.fdes[random.IntN(len(c.fdes))]
			pcs = append(pcs, fde.Begin()+random.Uint64N(fde.End()-fde.Begin()))
		}
		counts := map[string]int{}
		for i, want := range addr2line(t, vmlinux, pcs) {
			frames, err := l.Frames(pcs[i])
			if err != nil && !errors.Is(err, ErrNoSource) {
				t.Fatal(err)
			}
			class := linesDifference(frames, want)
			counts[class]++
			if class == "" {
				t.Errorf("%#x: %s\naddr2line: %s", pcs[i], framesText(frames), framesText(want))
			}
		}
		t.Logf("of %d addresses in functions of C and Rust: %v", addresses, counts)
		if counts["equal"] < addresses*9/10 {
			t.Errorf("too many differences: %v", counts)
		}
	})
}

// linesDifference classifies two answers, or returns "" if nothing explains how they differ.
func linesDifference(frames, want []SourceFrame) string {
	if len(frames) == 0 || len(frames) == 1 && frames[0].Function == "" {
		return "filled between functions"
	}
	if len(frames) != len(want) {
		return ""
	}
	class := "equal"
	for i := range frames {
		got, want := frames[i], want[i]
		// Compilers got paths relative to the build directory of the kernel.
		file := path.Clean(want.File)
		if at := strings.Index(file, "debian/build/"); at >= 0 {
			_, file, _ = strings.Cut(file[at+len("debian/build/"):], "/")
		}
		switch {
		case symtest.IsRust(want.Function) && got.Line == want.Line:
			class = "Rust"
		case got.Function != want.Function || got.Line != want.Line:
			return ""
		case path.Clean(got.File) != file:
			class = "another file"
		}
	}
	return class
}

func TestLinesKnowNothingElsewhere(t *testing.T) {
	l, err := OpenLines(lineProgram(t, "-g"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pc := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		if frames, err := l.Frames(pc); !errors.Is(err, ErrNoSource) {
			t.Errorf("%#x: %v, %v", pc, frames, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Frames(0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := l.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestOpenLinesRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		symtest.Compile(t, "int main(void) { return 0; }"): "no debug information",
		"lines_test.go": "bad magic", "/nowhere": "no such file", empty: "regular file", "/": "regular file",
	} {
		if _, err := OpenLines(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", path, err, want)
		}
	}
}

// TestLinesOfAFileThatShrinks reads pages after the new end of a file, which is a fault.
func TestLinesOfAFileThatShrinks(t *testing.T) {
	program := lineProgram(t, "-g")
	pc := functionBytes(t, program, "other", "outer", "local", "global_name")[0]
	l, err := OpenLines(program)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Truncate(program, 0); err != nil {
		t.Fatal(err)
	}
	if frames, err := l.Frames(pc); err == nil || errors.Is(err, ErrNoSource) {
		t.Errorf("%v, %v", frames, err)
	}
}

func TestLinesForManyAtOnce(t *testing.T) {
	program := lineProgram(t, "-O2", "-g")
	pcs := functionBytes(t, program, "other", "outer", "global_name")
	l, err := OpenLines(program)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, pc := range pcs {
				if _, err := l.Frames(pc); err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() { l.Close() })
	all.Wait()
}

// sectionNames are those that a unit may consist of.
var sectionNames = []string{"abbrev", "info", "line", "str", "line_str", "ranges", "rnglists", "aranges"}

// addSections adds the DWARF of small programs to a corpus: sections, and an address.
func addSections(f *testing.F, programs ...string) {
	for _, program := range programs {
		file, err := openDebugFile(program)
		if err != nil {
			f.Fatal(err)
		}
		var args []any
		for _, name := range sectionNames {
			args = append(args, bytes.Clone(file.sections[name]))
		}
		f.Add(append(args, uint64(0x401150))...)
		file.Close()
	}
}

func fuzzedFile(content ...[]byte) *debugFile {
	file := &debugFile{sections: sections{}}
	for i, name := range sectionNames {
		file.sections[name] = content[i]
	}
	return file
}

func FuzzLines(f *testing.F) {
	addSections(f, lineProgram(f, "-O2", "-gdwarf-5"), lineProgram(f, "-O2", "-gdwarf-4"),
		lineProgram(f, "-O2", "-g", "-flto"))
	f.Fuzz(func(t *testing.T, abbrev, info, line, str, lineStr, ranges, rnglists, aranges []byte, pc uint64) {
		l := newLines(fuzzedFile(abbrev, info, line, str, lineStr, ranges, rnglists, aranges))
		pcs := []uint64{pc}
		for _, r := range l.index.listed {
			pcs = append(pcs, r.low, (r.low+r.high)/2)
		}
		for _, pc := range pcs[:min(len(pcs), 16)] {
			frames, err := l.Frames(pc)
			if (len(frames) == 0) != (err != nil) {
				t.Errorf("%#x: %v, %v", pc, frames, err)
			}
		}
	})
}

func BenchmarkOpenLines(b *testing.B) {
	for b.Loop() {
		l, err := OpenLines(symtest.Vmlinuxes(b)[0])
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

// BenchmarkLinesOfNewUnits asks for units in turn, more than are kept.
func BenchmarkLinesOfNewUnits(b *testing.B) {
	l, err := OpenLines(symtest.Vmlinuxes(b)[0])
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var pcs []uint64
	seen := map[uint64]bool{}
	for _, r := range l.index.listed {
		if !seen[r.unit] {
			pcs = append(pcs, r.low+16)
		}
		seen[r.unit] = true
	}
	for i := 0; b.Loop(); i++ {
		if _, err := l.Frames(pcs[i%len(pcs)]); err != nil && !errors.Is(err, ErrNoSource) {
			b.Fatal(err)
		}
	}
}

func BenchmarkLinesOfAKnownUnit(b *testing.B) {
	l, err := OpenLines(symtest.Vmlinuxes(b)[0])
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	unit := l.index.listed[len(l.index.listed)/2]
	random := symtest.Dice()
	for b.Loop() {
		if _, err := l.Frames(unit.low + random.Uint64N(unit.high-unit.low)); err != nil && !errors.Is(err, ErrNoSource) {
			b.Fatal(err)
		}
	}
}
