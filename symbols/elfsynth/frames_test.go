package elfsynth

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
	"physgdb/symbols/dwarf"
	"physgdb/symbols/internal/symtest"
	"physgdb/symbols/orc"
)

// TestFramesOfTheKernelAreItsORC unwinds by what debugFrame made from every entry of a kernel's
// table, and from the last byte that the entry counts for. What comes out must be what
// unwind_next_frame() of arch/x86/kernel/unwind_orc.c does.
func TestFramesOfTheKernelAreItsORC(t *testing.T) {
	onKernels(t, func(t *testing.T, path string) {
		p := programOf(t, path)
		u := newUnwinder(t, p)
		random := rand.New(rand.NewPCG(1, 2))
		checked := map[string]int{}
		starts := p.symbolAddrs()
		prefixed := map[uint64]bool{} // addresses of prefixes
		for _, s := range p.Symbols {
			if strings.HasPrefix(s.Name, "__pfx_") {
				prefixed[s.Addr] = true
			}
		}
		check := func(pc uint64, rule *symbols.FrameRule, from, to uint64) {
			usual := rule.Kind == symbols.CallFrame && rule.Deref == symbols.DerefNone && rule.Base == symbols.RSP
			if !p.isCode(pc) || usual && random.IntN(20) != 0 {
				return
			}
			m := machine{pc: pc, seed: random.Uint64()}
			got := u.unwind(m)
			if got.none && prefixed[starts[before(starts, pc)]] {
				checked["prefix"]++
				return
			}
			if rule.Kind == symbols.NoFrame && !got.last {
				i, _ := slices.BinarySearch(starts, pc+1)
				if to-from >= minGap || i < len(starts) && starts[i]-from < maxPadding {
					checked["padding"]++
					return
				}
			}
			if want := m.byORC(rule); got != want {
				t.Fatalf("%#x, %+v:\n got %v\nwant %v", pc, *rule, got, want)
			}
			checked[fmt.Sprintf("kind %d, base %d, deref %d", rule.Kind, rule.Base, rule.Deref)]++
		}
		var from uint64
		var rule symbols.FrameRule
		ended := false
		for ip, next := range u.orc.Rules() {
			if from != 0 {
				late := ended || rule.Kind == symbols.NoFrame // the rule before counts for another byte
				if !late {
					check(from, &rule, from, ip)
				}
				ended = rule.Kind == symbols.LastFrame
				if !late || from != ip-1 {
					check(ip-1, &rule, from, ip)
				}
			}
			from, rule = ip, next
		}
		t.Logf("%d bytes, %d FDEs; addresses checked: %v", len(u.section), len(u.fdes), checked)
		if len(checked) < 10 {
			t.Errorf("only %d kinds of entries", len(checked))
		}
	})
}

// TestFramesAgreeWithTheCompilers compares them with the .debug_frame that comes with the kernel,
// which covers C.
func TestFramesAgreeWithTheCompilers(t *testing.T) {
	onKernels(t, func(t *testing.T, path string) {
		p := programOf(t, path)
		u := newUnwinder(t, p)
		compiler, err := symtest.Read(path, dwarf.ReadCFI)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		const addresses = 10_000
		result := map[string]int{}
		var differ []string
		for n := 0; n < addresses; {
			pc := p.randomPC(random)
			known, ok := u.orc.At(pc)
			if !ok || known.Kind == symbols.NoFrame {
				continue
			}
			n++
			want, ok := compiler.At(pc)
			if !ok {
				result["no CFI "+p.whereIs(pc)]++
				continue
			}
			m := machine{pc: pc, seed: random.Uint64()}
			if got := u.unwind(m); got == m.byORC(&want) {
				result["equal"]++
				continue
			}
			result["different"]++
			differ = append(differ, fmt.Sprintf("%#x: ORC %+v, compiler %+v", pc, known, want))
		}
		t.Logf("of %d addresses: %v", addresses, result)
		for _, d := range differ {
			t.Log(d)
		}
		if result["equal"] < addresses*8/10 || len(differ) > addresses/1000 {
			t.Errorf("%d equal, %d different", result["equal"], len(differ))
		}
	})
}

// TestReadelfTakesTheFrames has two other readers look for mistakes.
func TestReadelfTakesTheFrames(t *testing.T) {
	onKernels(t, func(t *testing.T, path string) {
		section, _, err := debugFrame(t.Context(), programOf(t, path))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		data, file := filepath.Join(dir, "section"), filepath.Join(dir, "elf")
		if err := os.WriteFile(data, section, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "gcc", "-c", "-x", "c", "-o", file, "/dev/null")
		run(t, "objcopy", "--add-section=.debug_frame="+data, file)
		fdes := bytes.Count(run(t, "readelf", "--debug-dump=frames", file), []byte(" FDE "))
		elfutils := bytes.Count(run(t, "eu-readelf", "--debug-dump=frame", file), []byte("] FDE "))
		if fdes < 40_000 || elfutils != fdes {
			t.Errorf("%d FDEs according to readelf, %d to eu-readelf", fdes, elfutils)
		}
	})
}

// run runs a program that must not complain.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%s: %v\n%.2000s", name, err, &errs)
	}
	return out.Bytes()
}

// programOf reads of a vmlinux what frames are made of.
func programOf(t testing.TB, path string) *Program {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &Program{Name: "vmlinux", ORC: &orc.Sections{}}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 {
			p.Sections = append(p.Sections, Section{Name: s.Name, Addr: s.Addr, Size: s.Size,
				Exec: s.Flags&elf.SHF_EXECINSTR != 0})
		}
		blob := map[string]*symbols.Blob{".orc_unwind_ip": &p.ORC.IPs, ".orc_unwind": &p.ORC.Entries, ".orc_header": &p.ORC.Header}[s.Name]
		if blob == nil {
			continue
		}
		if blob.Data, err = s.Data(); err != nil {
			t.Fatal(err)
		}
		blob.Addr = s.Addr
	}
	if p.ORC.Format, err = orc.FormatOf(p.ORC.Header.Data, p.ORC.Entries.Data); err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if kind := elf.ST_TYPE(s.Info); s.Section != elf.SHN_UNDEF && s.Section < elf.SHN_LORESERVE &&
			kind != elf.STT_SECTION && kind != elf.STT_FILE && !strings.HasPrefix(s.Name, ".L") {
			p.Symbols = append(p.Symbols, symbols.Symbol{Name: s.Name, Addr: s.Value, Size: s.Size})
		}
	}
	return p
}

func (p *Program) isCode(pc uint64) bool {
	for _, s := range p.Sections {
		if s.Exec && pc-s.Addr < s.Size {
			return true
		}
	}
	return false
}

// before returns the index of the last address that is at most pc, or 0.
func before(addrs []uint64, pc uint64) int {
	i, _ := slices.BinarySearch(addrs, pc+1)
	return max(0, i-1)
}

func (p *Program) symbolAddrs() []uint64 {
	var addrs []uint64
	for _, s := range p.Symbols {
		addrs = append(addrs, s.Addr)
	}
	slices.Sort(addrs)
	return addrs
}

// whereIs classifies code for which compilers write no call frame information.
func (p *Program) whereIs(pc uint64) string {
	var in symbols.Symbol
	for _, s := range p.Symbols {
		if s.Addr <= pc && s.Addr >= in.Addr {
			in = s
		}
	}
	if isPrefix(in.Name) {
		return "before a function"
	}
	return "in " + in.Name
}

func (p *Program) randomPC(random *rand.Rand) uint64 {
	var code uint64
	for _, s := range p.Sections {
		if s.Exec {
			code += s.Size
		}
	}
	at := random.Uint64N(code)
	for _, s := range p.Sections {
		switch {
		case s.Exec && at < s.Size:
			return s.Addr + at
		case s.Exec:
			at -= s.Size
		}
	}
	panic("unreachable")
}

// machine is the state of a CPU in code at pc. All its other registers and words of memory are
// noise, each different.
type machine struct {
	pc, seed uint64
	caller   *caller // the registers, once one frame is unwound
}

func (m *machine) noise(of uint64) uint64 {
	r := rand.NewPCG(m.seed, of)
	r.Uint64()
	return r.Uint64()
}

func (m *machine) reg(r symbols.Reg) uint64 {
	switch {
	case r == symbols.RIP:
		return m.pc
	case m.caller != nil:
		return m.caller.regs[r].value
	}
	return m.noise(uint64(r)) &^ 7
}

func (m *machine) mem(addr uint64) uint64 { return m.noise(addr|1<<63) &^ 7 }

// caller has the caller's registers according to the unwinder.
type caller struct {
	none   bool // nothing describes the code
	last   bool // there is no caller, or none that can be found
	signal bool // it was interrupted
	regs   [60]value
}

// value is a register's, if it is known.
type value struct {
	known bool
	value uint64
}

// byORC unwinds as the kernel does. Where a table follows RBP alone, other registers are unknown.
func (m machine) byORC(r *symbols.FrameRule) (c caller) {
	if r.Kind == symbols.NoFrame || r.Kind == symbols.LastFrame {
		return caller{last: true}
	}
	at := m.reg(r.Base)
	switch r.Deref {
	case symbols.DerefAfterOffset:
		at = m.mem(at + uint64(r.Offset))
	case symbols.DerefBeforeOffset:
		at = m.mem(at) + uint64(r.Offset)
	default:
		at += uint64(r.Offset)
	}
	load := func(reg symbols.Reg, offset int) { c.regs[reg] = value{true, m.mem(at + uint64(offset))} }
	c.regs[symbols.RBP] = value{true, m.reg(symbols.RBP)}
	switch r.Kind {
	case symbols.CallFrame:
		load(symbols.RIP, -8)
		c.regs[symbols.RSP] = value{true, at}
		c.signal = r.Deref == symbols.DerefBeforeOffset
	case symbols.RegsFrame: // the order of struct pt_regs
		for i, reg := range []symbols.Reg{symbols.R15, symbols.R14, symbols.R13, symbols.R12, symbols.RBP, symbols.RBX,
			symbols.R11, symbols.R10, symbols.R9, symbols.R8, symbols.RAX, symbols.RCX, symbols.RDX, symbols.RSI,
			symbols.RDI, 255, symbols.RIP, cs, rflags, symbols.RSP, ss} {
			if reg != 255 { // orig_rax
				load(reg, 8*i)
			}
		}
		c.signal = true
	case symbols.PartialRegsFrame:
		for i, reg := range []symbols.Reg{symbols.RIP, cs, rflags, symbols.RSP, ss} {
			load(reg, 8*i)
		}
		c.signal = true
	}
	for _, s := range r.Saved() {
		if s.Reg != symbols.RBP {
			continue
		}
		base := at
		if s.Base != symbols.CFA {
			base = m.reg(s.Base)
		}
		c.regs[s.Reg] = value{true, m.mem(base + uint64(int64(s.Offset)))}
	}
	return c
}

// unwinder unwinds by call frame information, as debuggers do.
type unwinder struct {
	t       testing.TB
	orc     *orc.Table
	section []byte
	syms    []symbols.Symbol
	fdes    frame.FrameDescriptionEntries
}

func newUnwinder(t testing.TB, p *Program) *unwinder {
	t.Helper()
	section, syms, err := debugFrame(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	fdes, err := frame.Parse(section, binary.LittleEndian, 0, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	table, err := p.ORC.Table()
	if err != nil {
		t.Fatal(err)
	}
	return &unwinder{t, table, section, syms, frame.FrameDescriptionEntries(nil).Append(fdes)}
}

// unwind goes to the caller, across a border.
func (u *unwinder) unwind(m machine) caller {
	c := u.step(m)
	if border, err := u.fdes.FDEForPC(c.regs[symbols.RIP].value); err == nil && c.regs[symbols.RIP].known &&
		border.CIE.Augmentation == "S" {
		c = u.step(machine{c.regs[symbols.RIP].value, m.seed, &c})
		c.signal = true
	}
	return c
}

// step goes to the next frame.
func (u *unwinder) step(m machine) (c caller) {
	fde, err := u.fdes.FDEForPC(m.pc)
	if err != nil {
		return caller{none: true}
	}
	row, err := fde.EstablishFrame(m.pc)
	if err != nil {
		u.t.Fatalf("%#x: %v", m.pc, err)
	}
	ra := row.Regs[uint64(symbols.RIP)]
	if ra.Rule == frame.RuleUndefined {
		return caller{last: true}
	}
	cfa := m.reg(symbols.Reg(row.CFA.Reg)) + uint64(row.CFA.Offset)
	if row.CFA.Rule == frame.RuleExpression {
		cfa = u.eval(&m, row.CFA.Expression)
	}
	c.regs[symbols.RSP] = value{true, cfa}
	for reg, rule := range row.Regs {
		v := &c.regs[reg]
		switch rule.Rule {
		case frame.RuleUndefined:
		case frame.RuleSameVal:
			*v = value{true, m.reg(symbols.Reg(reg))}
		case frame.RuleOffset:
			*v = value{true, m.mem(cfa + uint64(rule.Offset))}
		case frame.RuleValOffset:
			*v = value{true, cfa + uint64(rule.Offset)}
		case frame.RuleExpression:
			*v = value{true, m.mem(u.eval(&m, rule.Expression))}
		case frame.RuleValExpression:
			*v = value{true, u.eval(&m, rule.Expression)}
		default:
			u.t.Fatalf("%#x: rule %d", m.pc, rule.Rule)
		}
	}
	return c
}

// eval computes an expression: DWARF 5, section 2.5.1.
func (u *unwinder) eval(m *machine, expression []byte) uint64 {
	var stack []uint64
	r := bytes.NewReader(expression)
	sleb := func() (v int64) {
		for shift := 0; ; shift += 7 {
			b, err := r.ReadByte()
			if err != nil {
				u.t.Fatal(err)
			}
			v |= int64(b&0x7f) << shift
			if b < 0x80 {
				unused := max(0, 57-shift)
				return v << unused >> unused
			}
		}
	}
	for r.Len() > 0 {
		op, _ := r.ReadByte()
		top := len(stack) - 1
		switch {
		case op >= 0x70 && op <= 0x8f:
			stack = append(stack, m.reg(symbols.Reg(op-0x70))+uint64(sleb()))
		case op == 0x06:
			stack[top] = m.mem(stack[top])
		case op == 0x11:
			stack = append(stack, uint64(sleb()))
		case op == 0x22:
			stack = append(stack[:top-1], stack[top-1]+stack[top])
		default:
			u.t.Fatalf("operation %#x", op)
		}
	}
	return stack[len(stack)-1]
}

// orcTable makes tables of 6.4 at an address, of pairs of an address and an entry.
func orcTable(base uint64, pairs ...any) *orc.Sections {
	o := &orc.Sections{IPs: symbols.Blob{Addr: base}, Entries: symbols.Blob{Addr: base + 0x1000}, Format: orc.Linux6_4}
	for i := 0; i < len(pairs); i += 2 {
		rel := uint64(pairs[i].(int)) - base - uint64(len(o.IPs.Data))
		o.IPs.Data = binary.LittleEndian.AppendUint32(o.IPs.Data, uint32(rel))
		o.Entries.Data = append(o.Entries.Data, pairs[i+1].(string)...)
	}
	return o
}

// Entries of 6.4: sp_offset, bp_offset, sp_reg and bp_reg, type and signal.
const (
	orcCall8    = "\x08\x00\x00\x00\x05\x02" // CFA = RSP+8
	orcCall16   = "\x10\x00\x00\x00\x05\x02"
	orcSwitched = "\x10\x00\x00\x00\x09\x02" // CFA = *(RSP)+16
	orcRegs     = "\x00\x00\x00\x00\x05\x0b"
	orcBelow    = "\xfc\xff\x00\x00\x05\x02" // CFA = RSP-4: no stack has that
	orcEnd      = "\x00\x00\x00\x00\x00\x01"
	orcNone     = "\x00\x00\x00\x00\x00\x00"
)

// TestFramesOfFewFunctions states where FDEs begin and end.
func TestFramesOfFewFunctions(t *testing.T) {
	code := []Section{{Name: ".text", Addr: 0x1000, Size: 0x1000, Exec: true}, {Name: ".data", Addr: 0x2000, Size: 0x1000}}
	for _, tc := range []struct {
		name string
		syms string
		orc  *orc.Sections
		want string
	}{
		{"one", "1000 f", orcTable(0x9000, 0x1000, orcCall8, 0x1020, orcNone), "1000-1020"},
		{"padding between", "1000 f, 1030 g", orcTable(0x9000, 0x1000, orcCall8, 0x1021, orcNone, 0x1030, orcCall8, 0x1040,
			orcNone), "1000-1021 1030-1040"},
		{"padding with a name is not described", "1000 f, 1030 __pfx_g, 1040 g", orcTable(0x9000, 0x1000, orcCall8,
			0x1021, orcNone, 0x1030, orcCall8, 0x1050, orcNone), "1000-1021 1040-1050"},
		{"a section starts with padding", "1000 __pfx_f, 1010 f", orcTable(0x9000, 0x1000, orcCall8, 0x1050, orcNone),
			"1000-1010 1010-1050"},
		{"a label within", "1000 f, 1008 label", orcTable(0x9000, 0x1000, orcCall8, 0x1020, orcNone), "1000-1008 1008-1020"},
		{"two names", "1000 f, 1000 alias", orcTable(0x9000, 0x1000, orcCall8, 0x1020, orcNone), "1000-1020"},
		{"nothing has a name", "", orcTable(0x9000, 0x1000, orcCall8, 0x1020, orcNone), "1000-1020"},
		{"assembly that cannot be unwound", "1000 f, 1200 g", orcTable(0x9000, 0x1000, orcNone, 0x1200, orcCall8, 0x1210,
			orcNone), "1000-1200 1200-1210"},
		{"data has no frames", "1ff0 f, 2000 d", orcTable(0x9000, 0x1ff0, orcCall8, 0x2800, orcNone), "1ff0-2000"},
		{"code without a table", "1000 f, 1100 g", orcTable(0x9000, 0x1100, orcCall8, 0x1110, orcNone), "1100-1110"},
		{"saved registers", "1000 f", orcTable(0x9000, 0x1000, orcRegs, 0x1020, orcNone), "fde-1000 [saved-registers] 1000-1020"},
		{"another stack", "1000 f", orcTable(0x9000, 0x1000, orcSwitched, 0x1020, orcNone), "fde-1000 [stack-switch] 1000-1020"},
	} {
		p := &Program{Sections: code, ORC: tc.orc}
		for name := range strings.SplitSeq(tc.syms, ", ") {
			s := symbols.Symbol{}
			if n, _ := fmt.Sscanf(name, "%x %s", &s.Addr, &s.Name); n == 2 {
				p.Symbols = append(p.Symbols, s)
			}
		}
		u := newUnwinder(t, p)
		var got []string
		for _, fde := range u.fdes {
			got = append(got, fmt.Sprintf("%x-%x", fde.Begin(), fde.End()))
			for _, s := range u.syms {
				if s.Addr == fde.Begin() && s.Size == fde.End()-fde.Begin() {
					got = append(got, s.Name)
				}
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}

// TestFramesEndWhereNothingIsKnown: whatever cannot be must not lead anywhere.
func TestFramesEndWhereNothingIsKnown(t *testing.T) {
	p := &Program{Sections: []Section{{Addr: 0x1000, Size: 0x1000, Exec: true}}}
	p.Symbols = []symbols.Symbol{{Name: "f", Addr: 0x1000}}
	p.ORC = orcTable(0x9000, 0x1000, orcCall16, 0x1001, orcBelow, 0x1002, orcEnd, 0x1003, orcNone,
		0x1004, orcCall8, 0x1008, orcEnd, 0x100a, orcCall8, 0x1100, orcNone)
	u := newUnwinder(t, p)
	for pc, last := range map[uint64]bool{0x1000: false, 0x1001: true, 0x1002: true, 0x1003: true, 0x1004: false,
		0x1008: true, 0x1009: true, 0x100a: true, 0x100b: false} {
		if got := u.unwind(machine{pc: pc}); got.last != last || got.none {
			t.Errorf("%#x: %+v", pc, got)
		}
	}
}

func TestDebugFrameRefuses(t *testing.T) {
	broken := orcTable(0x9000, 0x1000, orcCall8)
	broken.Entries.Data = broken.Entries.Data[1:]
	far := []Section{{Addr: 0x1000, Size: 1, Exec: true}, {Addr: 1 << 40, Size: 1, Exec: true}}
	for want, p := range map[string]*Program{
		"do not fit":    {ORC: broken},
		"too far apart": {Sections: far, ORC: orcTable(0x9000, 0x1000, orcCall8)},
	} {
		if _, _, err := debugFrame(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if section, syms, err := debugFrame(t.Context(), &Program{}); section != nil || syms != nil || err != nil {
		t.Errorf("without ORC: %d bytes, %v", len(section), err)
	}
}

// FuzzDebugFrame: whatever a kernel's memory holds, the section parses, and is not much larger than
// what it was made of.
func FuzzDebugFrame(f *testing.F) {
	o := orcTable(0x9000, 0x1000, orcCall8, 0x1010, orcRegs, 0x1020, orcSwitched, 0x1030, orcBelow, 0x1040, orcEnd, 0x1050, orcNone)
	f.Add(o.IPs.Data, o.Entries.Data, uint8(2), uint64(0x9000), uint64(0x1000), uint64(0x1000), uint64(0x1008), uint64(0x1028))
	f.Add(o.IPs.Data, o.Entries.Data, uint8(0), uint64(0x9000), uint64(0), ^uint64(0), uint64(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, ips, entries []byte, format uint8, base, text, size, sym1, sym2 uint64) {
		p := &Program{Sections: []Section{{Addr: text, Size: size, Exec: true}, {Addr: text + size, Size: size}}}
		p.Symbols = []symbols.Symbol{{Name: "a", Addr: sym1}, {Name: "__pfx_b", Addr: sym2}}
		p.ORC = &orc.Sections{IPs: symbols.Blob{Addr: base, Data: ips}, Entries: symbols.Blob{Addr: base, Data: entries}, Format: orc.Format(format)}
		section, _, err := debugFrame(t.Context(), p)
		if err != nil {
			return
		}
		const perRow = 96
		if rows := len(ips)/4 + len(p.Symbols) + 2*len(p.Sections); len(section) > 512+perRow*rows {
			t.Errorf("%d bytes of %d rows", len(section), rows)
		}
		fdes, err := frame.Parse(section, binary.LittleEndian, 0, 8, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, fde := range fdes {
			for _, pc := range []uint64{fde.Begin(), fde.End() - 1} {
				if _, err := fde.EstablishFrame(pc); err != nil {
					t.Errorf("%#x: %v", pc, err)
				}
			}
		}
	})
}

func BenchmarkDebugFrame(b *testing.B) {
	for _, path := range vmlinuxes(b) {
		b.Run(filepath.Base(filepath.Dir(path)), func(b *testing.B) {
			p := programOf(b, path)
			for b.Loop() {
				if _, _, err := debugFrame(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
