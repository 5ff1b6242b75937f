package query

import (
	"context"
	"errors"

	"physgdb/cmd/internal/machine"
)

// SavedSymbols are symbol files that were written.
type SavedSymbols struct {
	Path    string `json:"path,omitempty"`    // of the kernel's
	Symbols int    `json:"symbols,omitempty"` // in it
	Size    int    `json:"size,omitempty"`    // bytes
	// ModulesDir is where those of the modules were written, and Modules are their paths.
	ModulesDir string   `json:"modules_dir,omitempty"`
	Modules    []string `json:"modules,omitempty"`
}

// SaveSymbols writes the synthetic symbol file of the kernel to path, or if that is empty to a file
// named after its release; and if modulesDir is not empty, those of its modules to that directory.
// The error says what is missing.
func SaveSymbols(ctx context.Context, m *machine.Machine, path, modulesDir string) (*SavedSymbols, error) {
	saved := &SavedSymbols{}
	file, missing := m.SaveVmlinux(ctx, path)
	if file != nil {
		saved.Path, saved.Symbols, saved.Size = file.Path, file.Symbols, file.Size
	}
	if modulesDir == "" {
		return saved, missing
	}
	var err error
	if saved.Modules, err = m.SaveModules(ctx, modulesDir); err == nil || len(saved.Modules) > 0 {
		saved.ModulesDir = modulesDir
	}
	return saved, errors.Join(missing, err)
}
