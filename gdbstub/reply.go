package gdbstub

import (
	"strings"
)

// reply is the answer to one request.
type reply struct {
	payload []byte // escaped where it is binary; empty means "unsupported" to the client
	silent  bool   // send nothing at all
	end     bool   // the session is over
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

// sentence is an error with words. Use it only where every gdb shows it: an old one takes the words for data in
// answers that carry data (gdb 13 on `m`: "Invalid hex digit 46").
func sentence(words string) reply { return text("E." + plainText(words)) }

// plainText makes words fit for a packet that clients do not decode: one line of printable ASCII, without the bytes
// that frame, escape or repeat.
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

// fail is an error with words if the client understands them everywhere (error-message+, gdb 16), else a code.
func (s *session) fail(code, words string) reply {
	if s.client.errorText {
		return sentence(words)
	}
	return text(code)
}
