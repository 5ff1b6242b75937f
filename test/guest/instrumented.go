package guest

import (
	"context"
	"path/filepath"
	"slices"
)

// addInstrumented builds instrumented.ko for a guest that loads it.
func (g *Guest) addInstrumented(ctx context.Context) error {
	if !slices.Contains(g.config.Instrument, "module") {
		return nil
	}
	module, err := buildModule(ctx, filepath.Dir(g.Kernel.Vmlinuz), g.Kernel.Release, "test/guest/instrumented",
		"instrumented.ko", g.config.Logger)
	if err != nil {
		return err
	}
	g.more = append(g.more, module)
	return nil
}
