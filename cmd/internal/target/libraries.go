package target

import (
	"context"

	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
)

// Libraries are the loaded modules, and other code outside the kernel's image, for gdb to load by
// itself: from their files, or what is made of the machine's memory where none were found.
func (s *session) Libraries(ctx context.Context) ([]gdbstub.Library, error) {
	s.files = map[string]fileOpener{}
	if s.m.Process != "" || s.m.Kernel.Symbols == nil {
		return nil, nil
	}
	files, err := s.m.SymbolFiles(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]gdbstub.Library, len(files))
	for i, f := range files {
		all[i], s.files[f.Name] = library(&f), opener(&f)
	}
	return all, nil
}

func library(f *machine.SymbolFile) gdbstub.Library {
	if f.Open == nil {
		return gdbstub.Library{Name: f.Name, Sections: f.Sections}
	}
	return gdbstub.Library{Name: f.Name, Segments: []uint64{f.Base}}
}

func opener(f *machine.SymbolFile) fileOpener {
	return func(ctx context.Context) (gdbstub.File, error) {
		if f.Open == nil {
			return openOnDisk(f.Name)
		}
		return f.Open(ctx)
	}
}

// VMCoreInfo returns the text of VMCOREINFO, which drgn asks for.
func (s *session) VMCoreInfo(ctx context.Context) ([]byte, error) {
	return s.m.Kernel.VMCoreInfoText(ctx)
}
