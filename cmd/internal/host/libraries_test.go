package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/symbols/linux"
)

func TestACopyForGDBStaysInTheCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	for _, name := range []string{"nfs", "../../../../nfs", "/etc/nfs", ".."} {
		path, err := loadable("/x/nfs.ko", name, &linux.ModuleFile{Moved: true, BuildID: []byte{0xca, 0xfe}})
		must(t, err)
		if dir := filepath.Join(cache, "physgdb", "modules", "cafe"); filepath.Dir(path) != dir || !strings.HasSuffix(path, ".ko") {
			t.Errorf("the copy of a module named %q is %s", name, path)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
