package elfsynth

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGdbIndexIsWhatGdbWouldMake compares the index with the one that gdb makes of the same file
// when it has none.
func TestGdbIndexIsWhatGdbWouldMake(t *testing.T) {
	t.Parallel()
	onMadeFiles(t, sameIndex)
}

func sameIndex(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	without, theirs := filepath.Join(dir, "without"), filepath.Join(dir, "theirs")
	tool(t, "objcopy", "--remove-section", ".gdb_index", path, without)
	tool(t, "gdb", "-nx", "-batch", without, "-ex", "save gdb-index "+dir)
	tool(t, "objcopy", "--add-section", ".gdb_index="+without+".gdb-index", without, theirs)
	gotUnits, gotNames := dumpIndex(t, path)
	wantUnits, wantNames := dumpIndex(t, theirs)
	if gotUnits != wantUnits {
		t.Errorf("units\n%s\nwant\n%s", gotUnits, wantUnits)
	}
	if diff := cmp.Diff(wantNames, gotNames); diff != "" || len(gotNames) == 0 {
		t.Errorf("of %d names (-gdb +ours):\n%.3000s", len(gotNames), diff)
	}
	t.Logf("%d names", len(gotNames))
}

// dumpIndex returns readelf's output for the units and the names in an index, sorted and without
// their places in the hash table.
func dumpIndex(t *testing.T, path string) (units string, names []string) {
	t.Helper()
	dump := tool(t, "readelf", "--debug-dump=gdb_index", path)
	units, table, ok := strings.Cut(dump, "Symbol table:\n")
	if !ok {
		t.Fatalf("%s: no index:\n%.500s", path, dump)
	}
	units, _, _ = strings.Cut(units, "Address table:\n")
	for line := range strings.Lines(table) {
		_, name, isName := strings.Cut(line, "] ")
		switch {
		case strings.HasPrefix(line, "[") && isName && strings.Contains(name, ":"):
			names = append(names, strings.TrimSpace(name))
		case strings.TrimSpace(line) != "": // one more meaning of the name
			names[len(names)-1] += " " + strings.Join(strings.Fields(line), " ")
		}
	}
	slices.Sort(names)
	return units, names
}

// TestGdbLeavesItsIndexCacheAlone has a gdb with an index cache, which goes by build-id, load the
// file: the cache must neither be asked, as it may hold the index of the real vmlinux, nor filled.
func TestGdbLeavesItsIndexCacheAlone(t *testing.T) {
	t.Parallel()
	vmlinux := vmlinuxes(t)[0]
	file, cache := built(t, kernelProgram(t, vmlinux)), filepath.Join(t.TempDir(), "cache")
	out := tool(t, "gdb", "-nx", "-batch", "-iex", "set index-cache directory "+cache, "-iex", "set index-cache enabled on", file,
		"-ex", "whatis init_task", "-ex", "show index-cache stats")
	if !strings.Contains(out, "type = struct task_struct") || !strings.Contains(out, "hits (this session): 0") ||
		!strings.Contains(out, "misses (this session): 0") {
		t.Errorf("gdb: %s", out)
	}
	if left, _ := os.ReadDir(cache); len(left) != 0 {
		t.Errorf("%s was kept", left[0].Name())
	}
}
