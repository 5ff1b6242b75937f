package host

import (
	"bytes"
	"context"

	"physgdb/gdbstub"
	"physgdb/symbols/elfsynth"
)

// generatedName is how gdb is shown the file of the code that the kernel has made at run time.
const generatedName = madeDir + "generated-code"

// generatedLibrary returns the file of the code that the kernel has made at run time, if there is any. It is made anew for
// each machine: that code is at other addresses each time. The error is ctx's.
func (s *session) generatedLibrary(ctx context.Context) ([]gdbstub.Library, error) {
	g, err := s.m.Kernel.Generated(ctx)
	if err != nil {
		s.m.log.Info("code that the kernel made at run time is not known", "error", err)
		return nil, ctx.Err()
	}
	for _, why := range g.Damage {
		s.m.log.Info("code that the kernel made at run time is not all known", "error", why)
	}
	if len(g.All) == 0 {
		return nil, nil
	}
	program, err := g.Program(ctx, s.m.Kernel)
	if err != nil {
		s.m.log.Info("code that the kernel made at run time is not shown", "error", err)
		return nil, ctx.Err()
	}
	s.files[generatedName] = func(context.Context) (gdbstub.File, error) {
		content, _ := elfsynth.Build(program) // it has no types, which is all that can be missing
		return bytes.NewReader(content), nil
	}
	return []gdbstub.Library{{Name: generatedName, Segments: []uint64{program.Sections[0].Addr}}}, nil
}
