package dwarf

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/internal/symtest"
)

// cfiSource has functions with all that the compiler does to frames: saved registers, a frame
// pointer for an array of variable length, an aligned stack, exits before the end.
const cfiSource = `
void use(void *, ...);
int leaf(int a) { return a + 1; }
int early(int *a) { if (!a) return 0; use(a, a[1], a[2]); use(a + 1); return a[3] + a[4]; }
long many(long *a) {
	long b = a[0], c = a[1], d = a[2], e = a[3], f = a[4], g = a[5];
	use(a); use(a, b); use(a, b, c); use(a, d, e, f, g);
	return b * c + d * e + f * g;
}
void variable(int n) { char text[n]; use(text); }
void aligned(int n) { char text[n] __attribute__((aligned(64))); use(text, n); use(text + n); }
long both(long *a, int n) {
	long b = a[0], c = a[1], d = a[2], e = a[3];
	char text[n], line[64] __attribute__((aligned(64)));
	use(text, b, c, d, e); use(a, line);
	return b + c * d - e;
}
`

// linkAlone makes the linker give addresses to functions that will never run.
var linkAlone = []string{"-nostdlib", "-static", "-Wl,-e0,--unresolved-symbols=ignore-all"}

// TestCFIAgreesWithReadelf compares every row of small files with what readelf makes of them.
func TestCFIAgreesWithReadelf(t *testing.T) {
	for name, flags := range map[string][]string{
		".eh_frame":              {"-O2"},
		".debug_frame":           {"-O2", "-g", "-fno-asynchronous-unwind-tables"},
		"with frame pointers":    {"-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer"},
		"without optimization":   {"-O0", "-g", "-fno-asynchronous-unwind-tables"},
		"optimized for its size": {"-Os", "-g", "-fno-asynchronous-unwind-tables"},
	} {
		t.Run(name, func(t *testing.T) {
			path := symtest.Compile(t, cfiSource, append(flags, linkAlone...)...)
			if rows := compareCFI(t, path, 1); rows < 25 {
				t.Errorf("only %d rows", rows)
			}
		})
	}
}

// TestCFIOfTheKernel compares one in ten rows of a vmlinux with what readelf makes of it.
func TestCFIOfTheKernel(t *testing.T) {
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		rows := compareCFI(t, path, 10)
		t.Logf("%d rows are equal", rows)
		if rows < 10_000 {
			t.Errorf("only %d rows", rows)
		}
	})
}

// compareCFI compares about one in so many rows, and counts them.
func compareCFI(t *testing.T, path string, oneIn int) (rows int) {
	c, err := symtest.Read(path, ReadCFI)
	if err != nil {
		t.Fatal(err)
	}
	random := symtest.Dice()
	var registers []string
	for line := range strings.Lines(symtest.Tool(t, "", "readelf", "--debug-dump=frames-interp", path)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "LOC":
			registers = f[2:]
			continue
		case strings.Contains(line, " CIE "), strings.Contains(line, " FDE "):
			registers = nil
			continue
		case registers == nil || len(f) != 2+len(registers) || random.IntN(oneIn) != 0:
			continue
		}
		pc, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil || pc == 0 {
			continue // in a CIE, which has no address
		}
		r, ok := c.At(pc)
		if got := describe(&r, registers); !ok || got != fmt.Sprint(f[1:], map[string]string{}) {
			t.Fatalf("At(%#x) = %s, %v; readelf: %s", pc, got, ok, strings.TrimSpace(line))
		}
		rows++
	}
	return rows
}

// describe writes a rule as readelf writes a row, with exp for expressions, and then what it has no
// column for.
func describe(r *symbols.FrameRule, registers []string) string {
	cfa := fmt.Sprintf("%s%+d", registerNames[r.Base], r.Offset)
	if r.Deref != symbols.DerefNone {
		cfa = "exp"
	}
	saved := map[string]string{}
	for _, s := range r.Saved() {
		where := fmt.Sprintf("c%+d", s.Offset)
		if s.Base != symbols.CFA {
			where = "exp"
		}
		saved[registerNames[s.Reg]] = where
	}
	if r.Kind == symbols.CallFrame {
		saved["ra"] = "c-8"
	}
	columns := []string{cfa}
	for _, name := range registers {
		columns = append(columns, cmp.Or(saved[name], "u"))
		delete(saved, name)
	}
	return fmt.Sprint(columns, saved)
}

var registerNames = [...]string{"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "ra"}

// TestCFIExpressions compares expressions with the text that readelf makes of them.
func TestCFIExpressions(t *testing.T) {
	flags := []string{"-O2", "-g", "-fno-asynchronous-unwind-tables", "-mpreferred-stack-boundary=3", "-mno-sse"}
	path := symtest.Compile(t, cfiSource, append(flags, linkAlone...)...)
	c, err := symtest.Read(path, ReadCFI)
	if err != nil {
		t.Fatal(err)
	}
	text := symtest.Tool(t, "", "readelf", "--debug-dump=frames", path)
	compared := 0
	for _, fde := range c.fdes {
		r, ok := c.At(fde.End() - 1) // after the last change of rules for a loop or a tail
		for pc := fde.Begin(); pc < fde.End() && r.Deref == symbols.DerefNone; pc++ {
			r, ok = c.At(pc)
		}
		if !ok || r.Deref == symbols.DerefNone {
			continue
		}
		_, program, _ := strings.Cut(text, fmt.Sprintf("pc=%016x..", fde.Begin()))
		program, _, _ = strings.Cut(program, "\n\n")
		want := fmt.Sprintf("DW_CFA_def_cfa_expression (DW_OP_breg6 (rbp): %d; DW_OP_deref)", r.Offset)
		if r.Base != symbols.RBP || r.Deref != symbols.DerefAfterOffset || !strings.Contains(program, want) {
			t.Errorf("%#x: %+v; readelf: %s", fde.Begin(), r, program)
		}
		for _, s := range r.Saved() {
			want := fmt.Sprintf("DW_CFA_expression: r%d (%s) (DW_OP_breg6 (rbp): %d)", s.Reg, registerNames[s.Reg], s.Offset)
			if s.Base != symbols.RBP || !strings.Contains(program, want) {
				t.Errorf("%#x: %+v; readelf: %s", fde.Begin(), s, program)
			}
		}
		compared++
	}
	if compared == 0 {
		t.Error("no function realigns its stack")
	}
}

func TestCFIExpressionForms(t *testing.T) {
	for _, tc := range []struct {
		name, expr string
		base       symbols.Reg
		offset     int64
		deref      symbols.Deref
		ok         bool
	}{
		{"rbp-8", "\x76\x78", symbols.RBP, -8, symbols.DerefNone, true},
		{"*(rbp-8)", "\x76\x78\x06", symbols.RBP, -8, symbols.DerefAfterOffset, true},
		{"*(rsp)+16", "\x77\x00\x06\x23\x10", symbols.RSP, 16, symbols.DerefBeforeOffset, true},
		{"r15-129", "\x7f\xff\x7e", symbols.R15, -129, symbols.DerefNone, true},
		{"*(rsp+8)+16 has two offsets", "\x77\x08\x06\x23\x10", 0, 0, 0, false},
		{"**(rbp)", "\x76\x00\x06\x06", 0, 0, 0, false},
		{"no register", "\x06", 0, 0, 0, false},
		{"no number", "\x76", 0, 0, 0, false},
		{"half a number", "\x76\x80", 0, 0, 0, false},
		{"a number too long", "\x76\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, 0, 0, false},
		{"half of the second number", "\x77\x00\x06\x23\x80", 0, 0, 0, false},
		{"trailing bytes", "\x77\x00\x06\x23\x10\x06", 0, 0, 0, false},
		{"nothing", "", 0, 0, 0, false},
	} {
		base, offset, deref, ok := cfiExpression([]byte(tc.expr))
		if ok != tc.ok || ok && (base != tc.base || offset != tc.offset || deref != tc.deref) {
			t.Errorf("%s: %d %d %d %v", tc.name, base, offset, deref, ok)
		}
	}
}

// cfiFrame is a .debug_frame section of one function from 0x1000 to 0x1100 with a program of its
// own. Before it the CFA is RSP+8, with the return address below.
func cfiFrame(augmentation, program string) []byte {
	const addresses = "\x00\x10\x00\x00\x00\x00\x00\x00" + "\x00\x01\x00\x00\x00\x00\x00\x00"
	cie := "\xff\xff\xff\xff\x01" + augmentation + "\x00\x01\x78\x10" + "\x0c\x07\x08\x90\x01"
	fde := "\x00\x00\x00\x00" + addresses + program
	section := binary.LittleEndian.AppendUint32(nil, uint32(len(cie)))
	section = append(section, cie...)
	section = binary.LittleEndian.AppendUint32(section, uint32(len(fde)))
	return append(section, fde...)
}

// TestCFIPrograms states what programs mean that compilers do not write for C: DWARF 5, section
// 6.4.2.
func TestCFIPrograms(t *testing.T) {
	kept := func(r symbols.FrameRule) symbols.FrameRule {
		r.CalleeSaved = true
		return r
	}
	for _, tc := range []struct {
		name, augmentation, program string
		pc                          uint64
		want                        symbols.FrameRule
		ok                          bool
	}{
		{"none", "", "", 0x1000, kept(call(symbols.RSP, 8)), true},
		{"the last byte", "", "", 0x10ff, kept(call(symbols.RSP, 8)), true},
		{"before", "", "", 0xfff, symbols.FrameRule{}, false},
		{"after", "", "", 0x1100, symbols.FrameRule{}, false},
		{"a signal frame", "S", "", 0x1000, signal(kept(call(symbols.RSP, 8))), true},
		{"return address undefined", "", "\x07\x10", 0x1000, symbols.FrameRule{Kind: symbols.LastFrame}, true},
		{"return address in a register", "", "\x09\x10\x00", 0x1000, symbols.FrameRule{}, false},
		{"return address elsewhere", "", "\x90\x02", 0x1000, symbols.FrameRule{}, false},
		{"rbx in a register", "", "\x09\x03\x00", 0x1000, symbols.FrameRule{}, false},
		{"rbx computed", "", "\x16\x03\x02\x76\x00", 0x1000, symbols.FrameRule{}, false},
		{"rbx unchanged", "", "\x08\x03", 0x1000, kept(call(symbols.RSP, 8)), true},
		{"rbx saved, then restored", "", "\x83\x02\x41\xc3", 0x1001, kept(call(symbols.RSP, 8)), true},
		{"rbx saved", "", "\x83\x02\x41\xc3", 0x1000, kept(call(symbols.RSP, 8, symbols.SavedReg{Reg: symbols.RBX, Base: symbols.CFA, Offset: -16})), true},
		{"rbx saved too far away", "", "\x83\x80\x80\x80\x80\x10", 0x1000, symbols.FrameRule{}, false},
		{"nine registers saved", "", "\x80\x02\x81\x03\x82\x04\x83\x05\x84\x06\x85\x07\x86\x08\x88\x09\x89\x0a", 0x1000,
			symbols.FrameRule{}, false},
		{"a vector register saved", "", "\x91\x02", 0x1000, kept(call(symbols.RSP, 8)), true},
		{"the CFA by a vector register", "", "\x0c\x11\x08", 0x1000, symbols.FrameRule{}, false},
		{"an unknown instruction", "", "\x3e", 0x1000, symbols.FrameRule{}, false},
		{"a state to restore that was never saved", "", "\x0b", 0x1000, symbols.FrameRule{}, false},
		{"half an instruction", "", "\x04\x00", 0x1000, kept(call(symbols.RSP, 8)), true},
		{"states without end", "", strings.Repeat("\x0a", 100_000), 0x1000, symbols.FrameRule{}, false},
	} {
		c, err := NewCFI(cfiFrame(tc.augmentation, tc.program), 0)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got, ok := c.At(tc.pc); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestReadCFIRefuses(t *testing.T) {
	none := symtest.Compile(t, "int f(void) { return 0; }", "-c", "-fno-asynchronous-unwind-tables")
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(damaged, []byte("\x7fELF and no more, or nothing that could be one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		none: "no call frame information", damaged: "ELF", "/nowhere": "no such file",
	} {
		if _, err := symtest.Read(path, ReadCFI); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", path, err, want)
		}
	}
}

func FuzzCFI(f *testing.F) {
	f.Add(cfiFrame("", "\x83\x02\x41\xc3"), uint64(0), uint64(0x1001))
	f.Add(cfiFrame("zR", "\x0a\x0b\x0f\x02\x76\x00"), uint64(0x2000), uint64(0x1001))
	path := symtest.Compile(f, cfiSource, "-O2", "-c")
	if e, err := elf.Open(path); err == nil {
		if data, err := e.Section(".eh_frame").Data(); err == nil {
			f.Add(data, uint64(0x400000), uint64(0x400000))
		}
		e.Close()
	}
	f.Fuzz(func(t *testing.T, data []byte, ehFrameAddr, pc uint64) {
		c, err := NewCFI(data, ehFrameAddr)
		if err != nil {
			return
		}
		c.At(pc)
		for _, fde := range c.fdes {
			for _, pc := range []uint64{fde.Begin(), fde.End() - 1} {
				if r, ok := c.At(pc); ok && (r.Kind != symbols.CallFrame && r.Kind != symbols.LastFrame || r.Base > symbols.R15) {
					t.Errorf("At(%#x) = %+v", pc, r)
				}
			}
		}
	})
}

func BenchmarkCFIAt(b *testing.B) {
	c, err := symtest.Read(symtest.Vmlinuxes(b)[0], ReadCFI)
	if err != nil {
		b.Fatal(err)
	}
	random := symtest.Dice()
	for b.Loop() {
		fde := c.fdes[random.IntN(len(c.fdes))]
		c.At(fde.Begin() + random.Uint64N(fde.End()-fde.Begin()))
	}
}

func BenchmarkReadCFI(b *testing.B) {
	path := symtest.Vmlinuxes(b)[0]
	for b.Loop() {
		if _, err := symtest.Read(path, ReadCFI); err != nil {
			b.Fatal(err)
		}
	}
}

// call is the rule of a frame after a call.
func call(base symbols.Reg, offset int64, saved ...symbols.SavedReg) symbols.FrameRule {
	r := symbols.FrameRule{Kind: symbols.CallFrame, Base: base, Offset: offset}
	for _, s := range saved {
		r.Save(s)
	}
	return r
}

func signal(r symbols.FrameRule) symbols.FrameRule {
	r.Signal = true
	return r
}
