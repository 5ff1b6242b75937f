package gdbstub

import (
	"bytes"
	"strconv"

	"physgdb/gdbstub/rsp"
)

// processID is the process that all threads belong to: the machine.
const processID = 1

// anyThread stands for the ids 0 and -1, any and all.
const anyThread ThreadID = 0

// parseThreadID reads a thread-id (gdb manual, appendix E.2): `1f`, `p1.1f`, `p1`, with 0 for any and -1 for all.
func parseThreadID(arg []byte) (ThreadID, bool) {
	if rest, ok := bytes.CutPrefix(arg, []byte("p")); ok {
		pid, tid, hasThread := bytes.Cut(rest, []byte("."))
		if p, ok := parseID(pid); !ok || p != anyThread && p != processID {
			return 0, false
		}
		if !hasThread {
			return anyThread, true
		}
		arg = tid
	}
	return parseID(arg)
}

func parseID(digits []byte) (ThreadID, bool) {
	if string(digits) == "-1" {
		return anyThread, true
	}
	n, ok := rsp.ParseHex(digits)
	return ThreadID(n), ok && n <= uint64(maxThreadID)
}

// appendThreadID writes id as this client wants to read it.
func (s *session) appendThreadID(dst []byte, id ThreadID) []byte {
	if s.client.multiprocess {
		dst = append(strconv.AppendInt(append(dst, 'p'), processID, 16), '.')
	}
	return strconv.AppendInt(dst, int64(id), 16)
}
