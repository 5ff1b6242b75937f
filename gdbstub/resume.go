package gdbstub

import (
	"bytes"
)

// vCont answers vCont? and vCont;action[:thread];… (gdb manual, appendix E.2). Both c and C must be offered, or gdb
// falls back to older packets.
func (s *session) vCont(args []byte) reply {
	if string(args) == "?" {
		return text("vCont;c;C;s;S")
	}
	return s.refuseResume(s.resumedThread(args))
}

// resumedThread returns the thread that a vCont names, which is the one the user steps, or else the selected one.
func (s *session) resumedThread(actions []byte) ThreadID {
	for action := range bytes.SplitSeq(actions, []byte(";")) {
		_, arg, _ := bytes.Cut(action, []byte(":"))
		id, valid := parseThreadID(arg)
		if _, found := s.threads.index[id]; valid && found {
			return id
		}
	}
	return s.current
}

// refuseResume answers every request to run: a sentence on the console and a stop by SIGINT, at once. Any other
// reply makes some client step for ever, hang, or give up the connection.
func (s *session) refuseResume(id ThreadID) reply {
	if err := s.print([]byte(s.can.whyHalted + "\n")); err != nil {
		return reply{silent: true, end: true}
	}
	return s.stopReply("T02", id)
}

// stopReply says that thread id has stopped. Without a list of threads it names none, which is legal, too.
func (s *session) stopReply(signal string, id ThreadID) reply {
	if id == 0 {
		return text(signal)
	}
	return reply{payload: append(s.appendThreadID([]byte(signal+"thread:"), id), ';')}
}
