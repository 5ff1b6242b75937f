package machine

import (
	"bytes"
	"context"
	"path/filepath"

	"physgdb/cmd/internal/kept"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux/synth"
)

// generatedFile is the name of the file of the code that the kernel made at run time.
const generatedFile = "generated-code"

// generatedProgram describes the code that the kernel made at run time; it is nil if there is none.
// It is not kept for another machine, where that code is at other addresses. The error is ctx's.
func (m *Machine) generatedProgram(ctx context.Context) (*elfsynth.Program, error) {
	g, err := m.Kernel.Generated(ctx)
	if err != nil {
		m.Log.Info("code that the kernel generated at run time is not known", "error", err)
		return nil, ctx.Err()
	}
	for _, why := range g.Damage {
		m.Log.Info("code that the kernel generated at run time is partly unknown", "error", why)
	}
	if len(g.All) == 0 {
		return nil, nil
	}
	program, err := synth.Generated(ctx, m.Kernel, g)
	if err != nil {
		m.Log.Info("code that the kernel generated at run time is not shown", "error", err)
	}
	return program, ctx.Err()
}

// generatedCode returns the symbol file of the code that the kernel made at run time, or nil. The
// error is ctx's.
func (m *Machine) generatedCode(ctx context.Context) (*SymbolFile, error) {
	program, err := m.generatedProgram(ctx)
	if program == nil || err != nil {
		return nil, err
	}
	return &SymbolFile{
		Name: MemoryDir + generatedFile, Base: program.Sections[0].Addr,
		Open: func(ctx context.Context) (File, error) {
			content, _, err := elfsynth.Build(ctx, program) // it has no types, which is all that can be missing
			return bytes.NewReader(content), err
		},
	}, nil
}

// saveGenerated writes the file of the code that the kernel made at run time into a directory, and
// returns its path, or "" if there is none.
func (m *Machine) saveGenerated(ctx context.Context, dir string) (string, error) {
	program, err := m.generatedProgram(ctx)
	if program == nil || err != nil {
		return "", err
	}
	content, _, err := elfsynth.Build(ctx, program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, generatedFile)
	return path, kept.WriteFile(path, bytes.NewReader(content))
}
