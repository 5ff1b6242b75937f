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

// buildModule builds a module, whose source is in a directory of the repository, against the headers in home, unless
// that was done with the same source.
func buildModule(ctx context.Context, home, kernel, source, file string, log hclog.Logger) (string, error) {
	root, err := repository(ctx)
	if err != nil {
		return "", err
	}
	sources, err := moduleSources(filepath.Join(root, source))
	if err != nil {
		return "", err
	}
	sum, err := fingerprint(sources...)
	if err != nil {
		return "", err
	}
	built := filepath.Join(home, "module-"+sum)
	module := filepath.Join(built, file)
	if exists(module) {
		return module, nil
	}
	log.Info("building " + file + " for " + kernel)
	err = create(built, func(dir string) error {
		if err := copyAll(sources, dir); err != nil {
			return err
		}
		_, err := run(ctx, dir, "make", "-j", strconv.Itoa(runtime.NumCPU()), "KDIR="+filepath.Join(home, headersOf(kernel)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("build %s for %s: %w", file, kernel, err)
	}
	return module, nil
}

// moduleSources lists what the module is built from, and nothing that a build by hand may have left there.
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
