package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// repository returns the directory of physgdb's go.mod.
func repository(ctx context.Context) (string, error) {
	out, err := run(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	mod := strings.TrimSpace(out)
	if filepath.Base(mod) != "go.mod" {
		return "", fmt.Errorf("no go.mod here (go env GOMOD says %q): run this inside physgdb's repository", mod)
	}
	return filepath.Dir(mod), nil
}

// moduleBuilder builds modules for one kernel.
type moduleBuilder struct {
	kernel string
	home   string // the kernel's directory in the cache
	root   string // see [chooser.buildRoot]
	log    hclog.Logger
}

// build builds a module, whose source is in a directory of the repository, unless it was built from
// the same source before.
func (b *moduleBuilder) build(ctx context.Context, source, file string) (string, error) {
	repository, err := repository(ctx)
	if err != nil {
		return "", err
	}
	sources, err := moduleSources(filepath.Join(repository, source))
	if err != nil {
		return "", err
	}
	sum, err := fingerprint(sources...)
	if err != nil {
		return "", err
	}
	built := filepath.Join(b.root, b.home, "module-"+sum)
	module := filepath.Join(built, file)
	if exists(module) {
		return module, nil
	}
	b.log.Info("building " + file + " for " + b.kernel)
	err = create(built, func(dir string) error {
		if err := copyAll(sources, dir); err != nil {
			return err
		}
		return makeIn(ctx, b.root, strings.TrimPrefix(dir, b.root), "-j", strconv.Itoa(runtime.NumCPU()),
			"KDIR="+filepath.Join(b.home, headersOf(b.kernel)))
	})
	if err != nil {
		return "", fmt.Errorf("build %s for %s: %w", file, b.kernel, err)
	}
	return module, nil
}

// moduleSources lists the source files of a module, without the results of a manual build.
func moduleSources(dir string) ([]string, error) {
	sources := []string{filepath.Join(dir, "Makefile")}
	found, err := filepath.Glob(filepath.Join(dir, "*.[ch]"))
	if err != nil {
		return nil, fmt.Errorf("find the module's source: %w", err)
	}
	for _, file := range found {
		if !strings.HasSuffix(file, ".mod.c") {
			sources = append(sources, file)
		}
	}
	return sources, nil
}

func copyAll(files []string, dir string) error {
	for _, file := range files {
		if err := copyTo(filepath.Join(dir, filepath.Base(file)), file); err != nil {
			return err
		}
	}
	return nil
}

func copyTo(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer f.Close()
	return copyFile(to, f)
}
