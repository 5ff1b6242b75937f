package render

import (
	"testing"

	"physgdb/symbols"
)

func TestKernelNamesOfRegisters(t *testing.T) {
	for reg, want := range map[symbols.Reg]string{
		symbols.RAX: "RAX", symbols.R8: "R08", symbols.R15: "R15", symbols.RDI: "RDI",
	} {
		if got := kernelName(reg); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
