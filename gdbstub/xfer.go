package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/gdbstub/rsp"
)

// object makes a document that clients read by qXfer:<name>:read:<annex>:<offset>,<length>. It reports false if
// there is none under that annex.
type object func(ctx context.Context, annex string) (data []byte, found bool, err error)

// document is one that a client is reading. It is made when the client begins and then holds still.
type document struct {
	name string // object and annex
	data []byte
}

// qXferObjects is the table that both answers qXfer and fills qSupported.
func (s *session) qXferObjects() map[string]object {
	return map[string]object{
		"features": s.featuresObject,
		"threads":  s.threadsObject,
	}
}

// transfer answers qXfer (gdb manual, appendix E.4 and E.13 on): m and a part, or l and the last part.
func (s *session) transfer(ctx context.Context, args []byte) reply {
	part := bytes.Split(args, []byte(":")) // "", object, "read", annex, offset,length
	if len(part) != 5 || string(part[2]) != "read" {
		return unsupported()
	}
	produce, known := s.objects[string(part[1])]
	if !known {
		return unsupported()
	}
	offset, length, valid := parseExtent(part[4])
	if !valid {
		return text("E00") // "malformed request or annex", by the manual
	}
	name := string(part[1]) + ":" + string(part[3])
	if offset == 0 || s.xfer.name != name {
		data, found, err := produce(ctx, string(part[3]))
		switch {
		case err != nil:
			return s.fail(codeRefused, err.Error())
		case !found:
			return text("E00")
		}
		s.xfer = document{name, data}
	}
	return s.transferPart(offset, length)
}

// transferPart sends some of the document at hand. An offset beyond its end gets the end.
func (s *session) transferPart(offset, length uint64) reply {
	size := uint64(len(s.xfer.data))
	start := min(offset, size)
	end := start + min(length, size-start, maxRead)
	mark := byte('m')
	if end == size {
		mark = 'l'
	}
	s.out = rsp.AppendEscaped(append(s.out[:0], mark), s.xfer.data[start:end])
	return reply{payload: s.out}
}

func parseExtent(arg []byte) (offset, length uint64, valid bool) {
	first, second, _ := bytes.Cut(arg, []byte(","))
	offset, okOffset := rsp.ParseHex(first)
	length, okLength := rsp.ParseHex(second)
	return offset, length, okOffset && okLength
}

// featuresObject is the target.xml (appendix G).
func (s *session) featuresObject(_ context.Context, annex string) ([]byte, bool, error) {
	if annex != "target.xml" {
		return nil, false, nil
	}
	d := *s.opt.Description
	if s.can.osabi != "" {
		d.OSABI = s.can.osabi
	}
	return d.XML(), true, nil
}

// threadsObject is the thread list (appendix E.14 "Thread List Format").
func (s *session) threadsObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex != "" {
		return nil, false, nil
	}
	if s.process.detached {
		return []byte("<threads/>"), true, nil
	}
	if err := s.refreshThreads(ctx); err != nil {
		return nil, false, err
	}
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\"?>\n<threads>\n")
	for _, t := range s.threads.all {
		fmt.Fprintf(&b, "<thread id=\"%s\"", s.formatThreadID(t.ID))
		if t.Core >= 0 {
			fmt.Fprintf(&b, " core=\"%d\"", t.Core)
		}
		if t.Name != "" {
			fmt.Fprintf(&b, " name=\"%s\"", escapeXML(t.Name))
		}
		fmt.Fprintf(&b, ">%s</thread>\n", escapeXML(t.Text))
	}
	b.WriteString("</threads>\n")
	return b.Bytes(), true, nil
}
