package elfsynth

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/elffile"
)

// TestToolsFindNothingWrong checks the files of kernels and of a module with tools for ELF and
// DWARF.
func TestToolsFindNothingWrong(t *testing.T) {
	t.Parallel()
	onMadeFiles(t, inspect)
}

func inspect(t *testing.T, path string) {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command("readelf", "-aW", path)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("readelf: %v\n%s", err, &errs)
	}
	if warning := regexp.MustCompile(`(?m)^.*([Ww]arning:|[Ee]rror:|<corrupt|<unknown>).*$`).Find(out); warning != nil {
		t.Errorf("readelf: %s", warning)
	}
	// Memory is not in the file: for eu-elflint that is a separate file of debug information.
	// Kernels have notes of Xen's. That code and constants are said to be writable is for lldb
	// (addMemory).
	known := regexp.MustCompile(`unknown object file note type|'\.(text|rodata)' has wrong flags: expected .*, is WRITE\|ALLOC`)
	for _, flags := range []string{"-d", "-d --gnu-ld"} {
		out, err := exec.Command("eu-elflint", append(strings.Fields(flags), path)...).CombinedOutput()
		if len(out) == 0 {
			t.Errorf("eu-elflint %s: said nothing: %v", flags, err)
		}
		for line := range strings.Lines(string(out)) {
			if !known.MatchString(line) && line != "No errors\n" {
				t.Errorf("eu-elflint %s: %s", flags, line)
			}
		}
	}
	if out := tool(t, "llvm-dwarfdump", "--verify", path); !strings.HasSuffix(out, "No errors.\n") || strings.Contains(out, "warning:") {
		t.Errorf("llvm-dwarfdump: %.2000s", out)
	}
}

// TestFileIsReadLikeAVmlinux reads a kernel's file as the product reads a vmlinux.
func TestFileIsReadLikeAVmlinux(t *testing.T) {
	onKernels(t, func(t *testing.T, vmlinux string) {
		ours, theirs := openSymbols(t, built(t, kernelProgram(t, vmlinux))), openSymbols(t, vmlinux)
		if len(ours.BuildID) == 0 || !bytes.Equal(ours.BuildID, theirs.BuildID) {
			t.Errorf("build-id %x, want %x", ours.BuildID, theirs.BuildID)
		}
		want, _ := theirs.Lookup("vfs_read")
		if got, ok := ours.Lookup("vfs_read"); !ok || got.Addr != want.Addr || !got.Func || got.Local || got.Size < want.Size {
			t.Errorf("symbol %+v, want %+v", got, want)
		}
		sameField(t, ours, theirs)
		sameRule(t, ours, theirs, want.Addr)
	})
}

func openSymbols(t *testing.T, path string) *elffile.File {
	t.Helper()
	f, err := elffile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func sameField(t *testing.T, ours, theirs *elffile.File) {
	t.Helper()
	var fields [2]symbols.Field
	for i, f := range []*elffile.File{ours, theirs} {
		types, err := f.Types()
		if err == nil {
			fields[i], err = types.Field("task_struct", "comm")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if fields[0] != fields[1] {
		t.Errorf("task_struct.comm is %+v, want %+v", fields[0], fields[1])
	}
}

func sameRule(t *testing.T, ours, theirs *elffile.File, pc uint64) {
	t.Helper()
	var rules [2]symbols.FrameRule
	for i, f := range []*elffile.File{ours, theirs} {
		u, err := f.Unwinder()
		if err != nil {
			t.Fatal(err)
		}
		var ok bool
		if rules[i], ok = u.At(pc + 20); !ok {
			t.Fatalf("no rule at %#x", pc)
		}
	}
	if rules[0] != rules[1] {
		t.Errorf("frame rule %+v, want %+v", rules[0], rules[1])
	}
}
