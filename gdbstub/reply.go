package gdbstub

import (
	"fmt"
	"strings"

	"physgdb/internal/plain"
)

// reply is the answer to one request.
type reply struct {
	payload    []byte // escaped where it is binary; empty means "unsupported" to the client
	silent     bool   // send nothing at all
	startNoAck bool   // acknowledgements end after this reply
	end        bool   // the session is over
}

// The error codes in use. Clients show them as numbers, if at all; these are errno values in hex.
const (
	codeRefused = "E01" // EPERM
	codeMemory  = "E14" // gdb's customary code for a failed memory access
)

func text(payload string) reply { return reply{payload: []byte(payload)} }

func ok() reply { return text("OK") }

// unsupported is the empty reply to a packet that is not known.
func unsupported() reply { return reply{} }

// silence is for the packets that have no reply.
func silence() reply { return reply{silent: true} }

// sentence is an error with words for gdb. Use it only where every gdb shows it: an old one takes
// the words for data in answers that carry data (gdb 13 on `m`: "Invalid hex digit 46").
func sentence(words string) reply { return text("E." + plainText(words)) }

// refuse is an error with words in reply to a packet to which every gdb shows them, and lldb none
// without being asked.
func (s *session) refuse(words string) reply {
	if s.client.lldb {
		return s.fail(codeRefused, words)
	}
	return sentence(words)
}

// plainText makes words fit for a packet that clients do not decode: one line of printable ASCII,
// without the bytes that frame, escape or repeat.
func plainText(words string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r > '~' || strings.ContainsRune("$#}*", r):
			return '?'
		}
		return r
	}, words)
}

// fail is an error with words if the client understands them everywhere (error-message+, gdb 16;
// QEnableErrorStrings, lldb), else a code.
func (s *session) fail(code, words string) reply {
	switch {
	case s.client.errorText:
		return sentence(words)
	case s.client.errorStrings:
		return text(fmt.Sprintf("%s;%x", code, plain.Line(words)))
	}
	return text(code)
}
