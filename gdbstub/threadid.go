package gdbstub

import (
	"bytes"
	"strconv"

	"physgdb/gdbstub/rsp"
)

// anyProcess and anyThread mean any or all: the ids 0 and -1.
const (
	anyProcess          = 0
	anyThread  ThreadID = 0
)

// threadRef is how clients name a thread.
type threadRef struct {
	pid int
	id  ThreadID
}

// parseThreadID reads a thread-id (gdb manual, appendix E.2): `1f`, `p1.1f`, `p1`, with 0 for any
// and -1 for all.
func parseThreadID(arg []byte) (ref threadRef, valid bool) {
	if rest, ok := bytes.CutPrefix(arg, []byte("p")); ok {
		pid, tid, hasThread := bytes.Cut(rest, []byte("."))
		if ref.pid, valid = parseProcess(pid); !valid || !hasThread {
			return ref, valid
		}
		arg = tid
	}
	ref.id, valid = parseID(arg)
	return ref, valid
}

func parseID(digits []byte) (ThreadID, bool) {
	if string(digits) == "-1" {
		return anyThread, true
	}
	n, ok := rsp.ParseHex(digits)
	return ThreadID(n), ok && n <= uint64(maxThreadID)
}

// appendThreadID writes the id of a thread of a process as this client wants to read it.
func (s *session) appendThreadID(dst []byte, pid int, id ThreadID) []byte {
	if s.client.multiprocess {
		dst = append(strconv.AppendInt(append(dst, 'p'), int64(pid), 16), '.')
	}
	return strconv.AppendInt(dst, int64(id), 16)
}
