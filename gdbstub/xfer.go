package gdbstub

import (
	"bytes"
	"context"
	"strconv"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/internal/plain"
)

// object makes a document that clients read by qXfer:<name>:read:<annex>:<offset>,<length>. It
// reports false if there is none under that annex.
type object func(ctx context.Context, annex string) (data []byte, found bool, err error)

// document is one that a client is reading. It is made when the client begins and then holds still.
type document struct {
	name string // object and annex
	data []byte
}

// qXferObjects is the table that both answers qXfer and fills qSupported.
func (s *session) qXferObjects(can *abilities) map[string]object {
	objects := map[string]object{
		"features": s.featuresObject,
		"threads":  s.threadsObject,
	}
	if can.libraries != nil {
		objects["libraries"] = s.librariesObject
	}
	if can.executable != nil {
		objects["exec-file"] = s.execFileObject
	}
	if can.osLister != nil {
		objects["osdata"] = s.osObject
	}
	if can.vmcoreInfo != nil {
		objects["vmcoreinfo"] = s.vmcoreInfoObject
	}
	if can.auxv != nil || can.processes != nil { // what a client is offered must hold for all that it may attach to
		objects["auxv"] = s.auxvObject
	}
	return objects
}

// transfer answers qXfer (gdb manual, appendix E.4 and E.13 on): m and a part, or l and the last
// part.
func (s *session) transfer(ctx context.Context, args []byte) reply {
	part := bytes.SplitN(args, []byte(":"), 4) // "", object, "read", annex:offset,length
	if len(part) != 4 || string(part[2]) != "read" {
		return unsupported()
	}
	produce, known := s.selected.objects[string(part[1])]
	if !known {
		var offered bool
		if produce, offered = s.machine.objects[string(part[1])]; !offered {
			return unsupported()
		}
		switch string(part[1]) { // what was offered must be answered for every process
		case "osdata", "vmcoreinfo": // of the machine, whichever is selected
		case "exec-file":
			return text("E00") // an empty name gdb would take for that of a file
		default:
			return text("l")
		}
	}
	annex, extent := cutLast(part[3], ':')
	offset, length, valid := parseExtent(extent)
	if !valid {
		return text("E00") // "malformed request or annex", by the manual
	}
	name := string(part[1]) + ":" + string(annex)
	if offset == 0 || s.selected.xfer.name != name {
		data, found, err := produce(ctx, string(annex))
		switch {
		case err != nil:
			s.log.Warn("object not read", "object", name, "error", err) // no client shows why
			return s.fail(codeRefused, err.Error())
		case !found:
			return text("E00")
		}
		s.selected.xfer = document{name, data}
	}
	return s.transferPart(offset, length)
}

// cutLast cuts around the last sep. An annex may be what the user typed (`info os a:b`), with
// colons of its own.
func cutLast(arg []byte, sep byte) (before, after []byte) {
	at := bytes.LastIndexByte(arg, sep)
	return arg[:max(at, 0)], arg[at+1:]
}

// transferPart sends a part of the present document. An offset beyond its end gets the end.
func (s *session) transferPart(offset, length uint64) reply {
	size := uint64(len(s.selected.xfer.data))
	start := min(offset, size)
	end := start + min(length, size-start, maxRead)
	mark := byte('m')
	if end == size {
		mark = 'l'
	}
	s.out = rsp.AppendEscaped(append(s.out[:0], mark), s.selected.xfer.data[start:end])
	return reply{payload: s.out}
}

func parseExtent(arg []byte) (offset, length uint64, valid bool) {
	first, second, _ := bytes.Cut(arg, []byte(","))
	offset, okOffset := rsp.ParseHex(first)
	length, okLength := rsp.ParseHex(second)
	return offset, length, okOffset && okLength
}

// execFileObject is the path of the main file, which gdb asks for if its user brought none
// (appendix E.4). Without one gdb says so, and goes on.
func (s *session) execFileObject(ctx context.Context, _ string) ([]byte, bool, error) {
	namer := s.selected.can.executable
	path, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (string, error) { return namer.ExecutableFile(ctx) })
	return []byte(path), err == nil && path != "", err
}

// featuresObject is the target.xml (appendix G). There is none before the client has attached to a
// process: gdb would take it for that of the program whose file it loads next, which may be a
// 32-bit one.
func (s *session) featuresObject(_ context.Context, annex string) ([]byte, bool, error) {
	if annex != "target.xml" || len(s.inferiors) == 0 {
		return nil, false, nil
	}
	return s.selected.can.description.XML(), true, nil
}

// threadsObject is the thread list (appendix E.14 "Thread List Format").
func (s *session) threadsObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex != "" {
		return nil, false, nil
	}
	if err := s.listThreads(ctx); err != nil {
		return nil, false, err
	}
	doc := []byte("<?xml version=\"1.0\"?>\n<threads>\n")
	for _, in := range s.inferiors {
		for _, t := range in.threads.all {
			doc = s.appendThreadXML(doc, in.pid, t)
		}
	}
	return append(doc, "</threads>\n"...), true, nil
}

// appendThreadXML appends one line of a list, which may have thousands and is read again for each
// `info threads`.
func (s *session) appendThreadXML(doc []byte, pid int, t Thread) []byte {
	doc = s.appendThreadID(append(doc, "<thread id=\""...), pid, t.ID)
	if t.Core >= 0 {
		doc = strconv.AppendInt(append(doc, "\" core=\""...), int64(t.Core), 10)
	}
	if t.Name != "" {
		doc = append(append(doc, "\" name=\""...), plain.XML(t.Name)...)
	}
	doc = append(append(doc, "\">"...), plain.XML(t.Text)...)
	return append(doc, "</thread>\n"...)
}

// vmcoreInfoObject is the text of the note and nothing else, as drgn proposes it.
func (s *session) vmcoreInfoObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex != "" {
		return nil, false, nil
	}
	reader := s.machine.can.vmcoreInfo
	data, err := worker.Ask(ctx, s.machine.worker, func(ctx context.Context, _ Target) ([]byte, error) { return reader.VMCoreInfo(ctx) })
	return data, true, err
}

// auxvObject is the auxiliary vector of a program. The machine itself has none, which is an empty
// one.
func (s *session) auxvObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex != "" {
		return nil, false, nil
	}
	reader := s.selected.can.auxv
	if reader == nil {
		return nil, true, nil
	}
	data, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) ([]byte, error) { return reader.Auxv(ctx) })
	return data, true, err
}
