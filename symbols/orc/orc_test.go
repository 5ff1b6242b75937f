package orc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/internal/symtest"
)

// orcStructs are struct orc_entry as the formats had it, for the compiler to lay out:
// arch/x86/include/asm/orc_types.h of Linux 6.1, 6.3, 6.12 (whose layout 7.1 has too).
const orcStructs = `
#define HEAD short sp_offset, bp_offset; unsigned sp_reg : 4, bp_reg : 4
struct __attribute__((packed)) f0 { HEAD, type : 2, end : 1; };
struct __attribute__((packed)) f1 { HEAD, type : 2, signal : 1, end : 1; };
struct __attribute__((packed)) f2 { HEAD, type : 3, signal : 1; };
#define f3 f2
int printf(const char *, ...);
static void show(void *p) { for (int i = 0; i < 6; i++) printf("%02x", ((unsigned char *)p)[i]); printf("\n"); }
int main(void) {
`

// call is the rule of a frame after a call.
func call(base symbols.Reg, offset int64, saved ...symbols.SavedReg) symbols.FrameRule {
	return rule(symbols.CallFrame, base, symbols.DerefNone, offset, saved...)
}

func rule(kind symbols.FrameKind, base symbols.Reg, deref symbols.Deref, offset int64, saved ...symbols.SavedReg) symbols.FrameRule {
	r := symbols.FrameRule{Kind: kind, Base: base, Deref: deref, Offset: offset}
	for _, s := range saved {
		r.Save(s)
	}
	return r
}

func signal(r symbols.FrameRule) symbols.FrameRule {
	r.Signal = true
	return r
}

// TestORCRulesAreThoseOfTheKernel states what unwind_next_frame() of arch/x86/kernel/unwind_orc.c
// does with an entry.
func TestORCRulesAreThoseOfTheKernel(t *testing.T) {
	none := symbols.FrameRule{}
	saved := symbols.SavedReg{Reg: symbols.RBP, Base: symbols.CFA, Offset: -16}
	realigned := rule(symbols.CallFrame, symbols.RBP, symbols.DerefAfterOffset, -8, symbols.SavedReg{Reg: symbols.RBP, Base: symbols.RBP, Offset: 0})
	switched := rule(symbols.CallFrame, symbols.RSP, symbols.DerefBeforeOffset, 16)
	tests := []struct {
		format Format
		entry  string
		want   symbols.FrameRule
		ok     bool
	}{
		{Linux4_14, ".sp_reg = 5, .sp_offset = 8", call(symbols.RSP, 8), true},
		{Linux4_14, ".sp_reg = 5, .sp_offset = 32, .bp_reg = 1, .bp_offset = -16", call(symbols.RSP, 32, saved), true},
		{Linux4_14, ".sp_reg = 4, .sp_offset = 16, .bp_reg = 1, .bp_offset = -16", call(symbols.RBP, 16, saved), true},
		{Linux4_14, ".sp_reg = 6, .sp_offset = 99", call(symbols.R10, 0), true},
		{Linux4_14, ".sp_reg = 7", call(symbols.R13, 0), true},
		{Linux4_14, ".sp_reg = 3", call(symbols.RDI, 0), true},
		{Linux4_14, ".sp_reg = 2", call(symbols.RDX, 0), true},
		{Linux4_14, ".sp_reg = 8, .sp_offset = -8, .bp_reg = 4", realigned, true},
		{Linux4_14, ".sp_reg = 9, .sp_offset = 16", switched, true},
		{Linux4_14, ".sp_reg = 5, .type = 1", signal(rule(symbols.RegsFrame, symbols.RSP, symbols.DerefNone, 0)), true},
		{Linux4_14, ".sp_reg = 5, .sp_offset = 8, .type = 2", signal(rule(symbols.PartialRegsFrame, symbols.RSP, symbols.DerefNone, 8)), true},
		{Linux4_14, ".sp_reg = 0", symbols.FrameRule{Kind: symbols.NoFrame}, true},
		{Linux4_14, ".sp_reg = 0, .end = 1", symbols.FrameRule{Kind: symbols.LastFrame}, true},
		{Linux4_14, ".sp_reg = 5, .type = 3", none, false},
		{Linux4_14, ".sp_reg = 1", none, false},
		{Linux4_14, ".sp_reg = 5, .bp_reg = 5", none, false},

		{Linux6_3, ".sp_reg = 5, .sp_offset = 8", call(symbols.RSP, 8), true},
		{Linux6_3, ".sp_reg = 5, .type = 1", rule(symbols.RegsFrame, symbols.RSP, symbols.DerefNone, 0), true},
		{Linux6_3, ".sp_reg = 5, .type = 1, .signal = 1", signal(rule(symbols.RegsFrame, symbols.RSP, symbols.DerefNone, 0)), true},
		{Linux6_3, ".end = 1", symbols.FrameRule{Kind: symbols.LastFrame}, true},
		{Linux6_3, ".signal = 1", symbols.FrameRule{Kind: symbols.NoFrame}, true},

		{Linux6_4, ".type = 0", symbols.FrameRule{Kind: symbols.NoFrame}, true},
		{Linux6_4, ".type = 1", symbols.FrameRule{Kind: symbols.LastFrame}, true},
		{Linux6_4, ".type = 2, .sp_reg = 5, .sp_offset = 24, .bp_reg = 1, .bp_offset = -16", call(symbols.RSP, 24, saved), true},
		{Linux6_4, ".type = 3, .sp_reg = 5, .signal = 1", signal(rule(symbols.RegsFrame, symbols.RSP, symbols.DerefNone, 0)), true},
		{Linux6_4, ".type = 4, .sp_reg = 5, .sp_offset = 8", rule(symbols.PartialRegsFrame, symbols.RSP, symbols.DerefNone, 8), true},
		{Linux6_4, ".type = 2, .sp_reg = 8, .sp_offset = -8, .bp_reg = 4", realigned, true},
		{Linux6_4, ".type = 2, .sp_reg = 9, .sp_offset = 16", switched, true},
		{Linux6_4, ".type = 2, .sp_reg = 10", none, false},
		{Linux6_4, ".type = 5, .sp_reg = 5", none, false},

		{Linux7_1, ".type = 2, .sp_reg = 3, .sp_offset = 24, .bp_reg = 8, .bp_offset = -16", call(symbols.RSP, 24, saved), true},
		{Linux7_1, ".type = 2, .sp_reg = 4, .sp_offset = 16", call(symbols.RBP, 16), true},
		{Linux7_1, ".type = 2, .sp_reg = 1", call(symbols.RAX, 0), true},
		{Linux7_1, ".type = 2, .sp_reg = 2", call(symbols.RDX, 0), true},
		{Linux7_1, ".type = 2, .sp_reg = 5", call(symbols.RDI, 0), true},
		{Linux7_1, ".type = 2, .sp_reg = 6", call(symbols.R10, 0), true},
		{Linux7_1, ".type = 2, .sp_reg = 7", call(symbols.R13, 0), true},
		{Linux7_1, ".type = 2, .sp_reg = 9, .sp_offset = 16", switched, true},
		{Linux7_1, ".type = 2, .sp_reg = 10, .sp_offset = -8, .bp_reg = 4", realigned, true},
		{Linux7_1, ".type = 2, .sp_reg = 8", none, false},
		{Linux7_1, ".type = 2, .sp_reg = 3, .bp_reg = 1", none, false},
	}
	var source strings.Builder
	source.WriteString(orcStructs)
	for _, tc := range tests {
		fmt.Fprintf(&source, "{ struct f%d e = { %s }; show(&e); }\n", tc.format, tc.entry)
	}
	source.WriteString("}")
	printed := strings.Fields(symtest.Tool(t, "", symtest.Compile(t, source.String())))
	for i, tc := range tests {
		entry, err := hex.DecodeString(printed[i])
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := orcLayouts[tc.format].rule(entry); got != tc.want || ok != tc.ok {
			t.Errorf("format %d, %s: %+v, %v; want %+v, %v", tc.format, tc.entry, got, ok, tc.want, tc.ok)
		}
	}
}

// orcTable makes a table of 4.14 at an address, of pairs of a start and an entry.
func orcTable(t testing.TB, base uint64, pairs ...any) *Table {
	t.Helper()
	var ips, entries []byte
	for i := 0; i < len(pairs); i += 2 {
		rel := int64(uint64(pairs[i].(int))) - int64(base) - int64(len(ips))
		ips = binary.LittleEndian.AppendUint32(ips, uint32(int32(rel)))
		entries = append(entries, pairs[i+1].(string)...)
	}
	o, err := New(base, ips, entries, Linux4_14)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Entries of 4.14, spelled out: sp_offset, bp_offset, then sp_reg and bp_reg, then type and end.
const (
	orcCall8  = "\x08\x00\x00\x00\x05\x00" // CFA = RSP+8
	orcCall16 = "\x10\x00\x00\x00\x05\x00" // CFA = RSP+16
	orcNone   = "\x00\x00\x00\x00\x00\x00"
)

func TestORCAt(t *testing.T) {
	tables := map[string]*Table{
		"in order": orcTable(t, 0x9000, 0x1000, orcCall8, 0x1001, orcCall16, 0x1080, orcNone,
			0x2000, orcNone, 0x2000, orcCall8, 0x2010, orcNone),
		"in any order": orcTable(t, 0x9000, 0x2000, orcCall8, 0x2010, orcNone, 0x1001, orcCall16,
			0x2000, orcNone, 0x1080, orcNone, 0x1000, orcCall8),
		"amid its code": orcTable(t, 0x1f00, 0x1000, orcCall8, 0x1001, orcCall16, 0x1080, orcNone,
			0x2000, orcNone, 0x2000, orcCall8, 0x2010, orcNone),
	}
	for name, table := range tables {
		for _, tc := range []struct {
			pc   uint64
			want symbols.FrameRule
			ok   bool
		}{
			{0, symbols.FrameRule{}, false}, {0xfff, symbols.FrameRule{}, false},
			{0x1000, call(symbols.RSP, 8), true}, {0x1001, call(symbols.RSP, 16), true}, {0x107f, call(symbols.RSP, 16), true},
			{0x1080, symbols.FrameRule{Kind: symbols.NoFrame}, true}, {0x1fff, symbols.FrameRule{Kind: symbols.NoFrame}, true},
			{0x2000, call(symbols.RSP, 8), true}, {0x200f, call(symbols.RSP, 8), true},
			{0x2010, symbols.FrameRule{}, false}, {1 << 63, symbols.FrameRule{}, false}, {^uint64(0), symbols.FrameRule{}, false},
		} {
			if got, ok := table.At(tc.pc); got != tc.want || ok != tc.ok {
				t.Errorf("%s: At(%#x) = %+v, %v; want %+v, %v", name, tc.pc, got, ok, tc.want, tc.ok)
			}
		}
	}
}

func TestORCAtAllocatesNothing(t *testing.T) {
	table := orcTable(t, 0x9000, 0x1000, "\x20\x00\xf0\xff\x15\x00", 0x1100, orcNone)
	var saved int
	if n := testing.AllocsPerRun(100, func() {
		r, _ := table.At(0x1010)
		saved += len(r.Saved())
	}); n != 0 || saved == 0 {
		t.Errorf("%v allocations, %d registers", n, saved)
	}
}

func TestNewORCRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		base         uint64
		ips, entries string
		format       Format
	}{
		"nothing":           {0, "", "", Linux4_14},
		"half an address":   {0, "\x00\x00", "", Linux4_14},
		"one without entry": {0, "\x00\x00\x00\x00", "", Linux4_14},
		"half an entry":     {0, "\x00\x00\x00\x00", orcNone[:3], Linux4_14},
		"a format to come":  {0, "\x00\x00\x00\x00", orcNone, Linux7_1 + 1},
	} {
		if _, err := New(tc.base, []byte(tc.ips), []byte(tc.entries), tc.format); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestORCFormatOf(t *testing.T) {
	calls6_4 := strings.Repeat("\x08\x00\x00\x00\x05\x02", 9)
	for _, tc := range []struct {
		name, header, entries string
		want                  Format
		ok                    bool
	}{
		{"hash of 6.3", "db84aed4103b31dd51e017f8f79783ca985c2c51", "", Linux6_3, true},
		{"hash of 6.4", "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24", "", Linux6_4, true},
		{"hash of 7.1", "137c36ad7627c4dd55932176bb0ecdbd5041fc82", "", Linux7_1, true},
		{"no header, calls of type 0", "", orcCall8 + orcCall16 + orcNone, Linux4_14, true},
		{"no header, the end marked by bit 11", "", orcCall8 + orcCall16 + orcNone[:5] + "\x08", Linux6_3, true},
		{"no header, calls of type 2", "", calls6_4 + orcNone, Linux6_4, true},
		{"no header, RSP has number 3", "", strings.ReplaceAll(calls6_4, "\x05", "\x03"), Linux7_1, true},
		{"hash to come, entries as before", "00112233445566778899aabbccddeeff00112233", calls6_4, Linux6_4, true},
		{"nothing but ends", "", orcNone + orcNone, 0, false},
		{"noise", "", "no entry at all, but words of English.", 0, false},
		{"nothing", "", "", 0, false},
	} {
		header, err := hex.DecodeString(tc.header)
		if err != nil {
			t.Fatal(err)
		}
		got, err := FormatOf(header, []byte(tc.entries))
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("%s: %d, %v; want %d, %v", tc.name, got, err, tc.want, tc.ok)
		}
	}
}

// TestORCHashIsThatOfTheHeaders computes what scripts/orc_hash.sh makes of the headers that belong
// to a vmlinux.
func TestORCHashIsThatOfTheHeaders(t *testing.T) {
	const script = `awk '/^#define ORC_(REG|TYPE)_/ { print }
		/^struct orc_entry {$/ { p=1 }  p { print }  /^}/ { p=0 }' "$0" | sha1sum`
	compared := 0
	for _, path := range symtest.Vmlinuxes(t) {
		format, header := orcFormatOfFile(t, path)
		pattern := filepath.Join(filepath.Dir(path), "headers/usr/src/*/arch/x86/include/asm/orc_types.h")
		headers, _ := filepath.Glob(pattern)
		if len(header) == 0 || len(headers) == 0 {
			continue
		}
		sum := strings.Fields(symtest.Tool(t, "", "sh", "-c", script, headers[0]))[0]
		if sum != hex.EncodeToString(header) || orcHashes[string(header)] != format {
			t.Errorf("%s: headers give %s, .orc_header is %x, the format %d", path, sum, header, format)
		}
		compared++
	}
	if compared == 0 {
		t.Skip("no kernel has a header")
	}
}

func orcFormatOfFile(t *testing.T, path string) (Format, []byte) {
	o, err := symtest.Read(path, Read)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".orc_header")
	if s == nil {
		return o.Format(), nil
	}
	header, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return o.Format(), header
}

// TestORCFormatNeedsNoHeader hides the header of kernels that have one, and renumbers their
// registers as 7.1 does.
func TestORCFormatNeedsNoHeader(t *testing.T) {
	renumbered := map[byte]byte{0: 0, 1: 8, 2: 2, 3: 5, 4: 4, 5: 3, 6: 6, 7: 7, 8: 10, 9: 9}
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		o, err := symtest.Read(path, Read)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := FormatOf(nil, o.entries); got != o.Format() || err != nil {
			t.Errorf("without a header: %d, %v; want %d", got, err, o.Format())
		}
		if o.Format() != Linux6_4 {
			return
		}
		entries := bytes.Clone(o.entries)
		for i := 4; i < len(entries); i += orcEntrySize {
			entries[i] = renumbered[entries[i]&0xf] | renumbered[entries[i]>>4]<<4
		}
		if got, err := FormatOf(nil, entries); got != Linux7_1 || err != nil {
			t.Errorf("with other numbers: %d, %v", got, err)
		}
		for i := range o.len() {
			want, _ := orcLayouts[Linux6_4].rule(o.entry(i))
			if got, ok := orcLayouts[Linux7_1].rule(entries[i*orcEntrySize:]); got != want || !ok {
				t.Fatalf("entry %d: %+v with other numbers, %+v before", i, got, want)
			}
		}
	})
}

// TestORCKnowsEntryCode asks at symbols whose frames unwind hints in entry_64.S describe.
func TestORCKnowsEntryCode(t *testing.T) {
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		o, err := symtest.Read(path, Read)
		if err != nil {
			t.Fatal(err)
		}
		names, err := symtest.Read(path, symtest.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]struct {
			kind   symbols.FrameKind
			signal bool
		}{
			"asm_exc_page_fault":      {symbols.PartialRegsFrame, true},
			"error_return":            {symbols.RegsFrame, true},
			"entry_SYSCALL_64":        {symbols.LastFrame, false},
			"schedule":                {symbols.CallFrame, false},
			"secondary_startup_64":    {symbols.LastFrame, false},
			"common_interrupt_return": {symbols.RegsFrame, true},
		} {
			s, ok := names[name]
			if !ok {
				t.Errorf("%s: no such symbol", name)
				continue
			}
			if r, ok := o.At(s.Value); !ok || r.Kind != want.kind || r.Signal != want.signal {
				t.Errorf("%s: %+v, %v", name, r, ok)
			}
		}
		if r, ok := o.At(names["_text"].Value - 1); ok {
			t.Errorf("below the kernel: %+v", r)
		}
		if r, ok := o.At(names["_end"].Value); ok {
			t.Errorf("above the kernel: %+v", r)
		}
	})
}

func TestReadORCRefuses(t *testing.T) {
	program := symtest.Compile(t, "int main(void) { return 0; }")
	for path, want := range map[string]string{
		program: "CONFIG_UNWINDER_ORC", "orc_test.go": "bad magic", "/nowhere": "no such file",
	} {
		if _, err := symtest.Read(path, Read); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", path, err, want)
		}
	}
}

func FuzzORC(f *testing.F) {
	f.Add(uint64(0x9000), []byte("\x00\x80\xff\xff\x10\x80\xff\xff"), []byte(orcCall8+orcNone), []byte{}, uint64(0x1000))
	f.Add(uint64(0), []byte("\x00\x80\xff\xff\x00\x00\x00\x00"), []byte(orcCall8+orcCall16), []byte("hash"), uint64(0))
	f.Fuzz(func(t *testing.T, base uint64, ips, entries, header []byte, pc uint64) {
		format, err := FormatOf(header, entries)
		if err != nil {
			format = Linux6_4
		}
		o, err := New(base, ips, entries, format)
		if err != nil {
			return
		}
		for i := range o.len() {
			o.At(o.ip(i))
		}
		r, ok := o.At(pc)
		if ok && r.Kind > symbols.PartialRegsFrame {
			t.Errorf("At(%#x) = %+v", pc, r)
		}
		if ok && (pc < o.ip(0) || pc >= o.ip(o.len()-1)) && o.sorted() {
			t.Errorf("At(%#x) is known, the table covers %#x to %#x", pc, o.ip(0), o.ip(o.len()-1))
		}
	})
}

func BenchmarkORCAt(b *testing.B) {
	o, err := symtest.Read(symtest.Vmlinuxes(b)[0], Read)
	if err != nil {
		b.Fatal(err)
	}
	low, high := o.ip(0), o.ip(o.len()-1)
	random := symtest.Dice()
	for b.Loop() {
		o.At(low + random.Uint64N(high-low))
	}
}

func BenchmarkReadORC(b *testing.B) {
	path := symtest.Vmlinuxes(b)[0]
	for b.Loop() {
		if _, err := symtest.Read(path, Read); err != nil {
			b.Fatal(err)
		}
	}
}
