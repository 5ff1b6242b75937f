package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/symbols/debuginfo"
	"physgdb/symbols/linux/module"

	"physgdb/cmd/internal/kept"
	"physgdb/test/rig"
)

func TestACopyForGDBStaysInTheCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	for _, name := range []string{"nfs", "../../../../nfs", "/etc/nfs", ".."} {
		path, err := loadable("/x/nfs.ko", name, &debuginfo.ModuleFile{Moved: true, BuildID: []byte{0xca, 0xfe}}, 0)
		rig.Must(t, err)
		if dir := filepath.Join(cache, "physgdb", string(kept.Modules), "cafe"); filepath.Dir(path) != dir || !strings.HasSuffix(path, ".ko") {
			t.Errorf("the copy of a module named %q is %s", name, path)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestModulesOfOneNameHaveFilesOfTheirOwn(t *testing.T) {
	modules := []*module.Module{{Name: "nfs", Addr: 0x1000}, {Name: "nfs", Addr: 0x2000}, {Name: "n fs", Addr: 0x3000}, {Name: "xfs"}}
	taken := map[string]bool{}
	for _, name := range moduleFiles(modules) {
		if taken[name] {
			t.Errorf("%s is the file of two modules", name)
		}
		taken[name] = true
	}
	if !taken["nfs.ko"] || !taken["0x2000-nfs.ko"] || !taken["xfs.ko"] {
		t.Errorf("the files are %v", taken)
	}
}
