package elffile_test

import (
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/dwarf"
	"physgdb/symbols/elffile"
	"physgdb/symbols/internal/symtest"
	"physgdb/symbols/orc"
)

// TestORCAgreesWithTheCompiler compares what objtool found in the machine code with what the
// compiler says in its call frame information. They may differ where the compiler does not see what
// happens, and where nothing does.
func TestORCAgreesWithTheCompiler(t *testing.T) {
	const addresses = 50_000
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		o, err := symtest.Read(path, orc.Read)
		if err != nil {
			t.Fatal(err)
		}
		c, err := symtest.Read(path, dwarf.ReadCFI)
		if err != nil {
			t.Fatal(err)
		}
		table, err := elffile.ReadTable(path)
		if err != nil {
			t.Fatal(err)
		}
		var functions []symbols.Symbol
		for s := range table.All() {
			if _, ok := c.At(s.Addr); s.Func && s.Size > 0 && ok {
				functions = append(functions, s)
			}
		}
		counts := map[string]int{}
		random := symtest.Dice()
		for range addresses {
			s := functions[random.IntN(len(functions))]
			pc := s.Addr + random.Uint64N(s.Size)
			byORC, ok1 := o.At(pc)
			byCFI, ok2 := c.At(pc)
			if !ok1 || !ok2 {
				t.Fatalf("%#x: found %v by ORC, %v by CFI", pc, ok1, ok2)
			}
			class := difference(&byORC, &byCFI)
			counts[class]++
			if class == "" {
				t.Errorf("%#x: ORC says %+v, CFI %+v", pc, byORC, byCFI)
			}
		}
		t.Logf("of %d addresses in functions of C: %v", addresses, counts)
		for class, most := range map[string]int{
			"pushed by inline assembly": addresses / 1000, "released in Rust": addresses / 1000, "saved by mov": addresses / 100,
		} {
			if counts[class] > most {
				t.Errorf("%s: %d", class, counts[class])
			}
		}
		if counts["equal"] < addresses*98/100 {
			t.Errorf("too many differences: %v", counts)
		}
	})
}

// difference classifies two rules for an address, or returns "" if nothing explains how they
// differ.
func difference(orc, cfi *symbols.FrameRule) string {
	switch {
	case orc.Kind == symbols.NoFrame:
		return "filled between functions" // with instructions that are never executed
	case orc.Kind != symbols.CallFrame || cfi.Kind != symbols.CallFrame || orc.Signal || cfi.Signal:
		return ""
	case orc.Deref == symbols.DerefBeforeOffset && cfi.Base == symbols.RSP:
		return "on another stack" // call_on_stack() of asm/irq_stack.h switches in inline assembly
	case orc.Base == symbols.RSP && orc.Offset == 8 && cfi.Base == symbols.R10 && cfi.Offset == 0:
		return "realigning its stack" // R10 was just set to RSP+8, both hold
	case orc.Base == symbols.RSP && cfi.Base == symbols.RSP && orc.Offset > cfi.Offset && orc.Offset <= cfi.Offset+40:
		return "pushed by inline assembly" // flags, and what iret pops
	case orc.Base == symbols.RSP && cfi.Base == symbols.RSP && orc.Offset == cfi.Offset-8:
		return "released in Rust" // the compiler leaves out the add $8,%rsp before its tail calls
	case orc.Base != cfi.Base || orc.Deref != cfi.Deref || orc.Offset != cfi.Offset:
		return ""
	case orc.Base == symbols.RSP && savedRBP(orc) == (symbols.SavedReg{}) && savedRBP(cfi).Offset < int32(-orc.Offset):
		return "popped already" // LLVM goes on to name the place, below the stack pointer, from which RBP was restored
	case savedRBP(orc) != savedRBP(cfi) && (savedRBP(orc) == (symbols.SavedReg{}) || savedRBP(cfi) == (symbols.SavedReg{})):
		return "saved by mov" // GCC 16 does that in places: between saving and changing it, RBP is in both
	case savedRBP(orc) != savedRBP(cfi):
		return ""
	}
	return "equal"
}

func savedRBP(r *symbols.FrameRule) symbols.SavedReg {
	for _, s := range r.Saved() {
		if s.Reg == symbols.RBP {
			return s
		}
	}
	return symbols.SavedReg{}
}
