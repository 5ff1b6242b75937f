package gdbstub

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"physgdb/gdbstub/internal/worker"
	"physgdb/internal/plain"
)

// librariesObject is the list of loaded files (gdb manual, appendix E, "Library List Format").
func (s *session) librariesObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex != "" {
		return nil, false, nil
	}
	lister := s.selected.can.libraries
	all, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) ([]Library, error) { return lister.Libraries(ctx) })
	if err != nil {
		return nil, false, err
	}
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\"?>\n<library-list version=\"1.0\">\n")
	for _, l := range all {
		if !l.placeable() {
			s.log.Warn("library left out: a name or the address of a section is missing", "name", l.Name)
			continue
		}
		l.writeXML(&b)
	}
	b.WriteString("</library-list>\n")
	return b.Bytes(), true, nil
}

// placeable says whether gdb can make anything of l. One library without sections makes it drop the
// whole list.
func (l Library) placeable() bool {
	return l.Name != "" && (len(l.Segments) > 0 || len(l.Sections) > 0 && !slices.Contains(l.Sections, 0))
}

func (l Library) writeXML(b *bytes.Buffer) {
	fmt.Fprintf(b, "<library name=\"%s\">", plain.XML(l.Name))
	kind, addrs := "segment", l.Segments
	if len(addrs) == 0 {
		kind, addrs = "section", l.Sections
	}
	for _, addr := range addrs {
		fmt.Fprintf(b, "<%s address=\"%#x\"/>", kind, addr)
	}
	b.WriteString("</library>\n")
}
