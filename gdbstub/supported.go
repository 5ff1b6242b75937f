package gdbstub

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// supported answers qSupported (gdb manual, appendix E.4): it records what the client supports and
// returns what the server supports. Each item is a packet that is answered; the qXfer items come
// from the table that answers them.
func (s *session) supported(args []byte) reply {
	s.client.asked = true
	for item := range bytes.SplitSeq(bytes.TrimPrefix(args, []byte(":")), []byte(";")) {
		switch string(item) {
		case "multiprocess+":
			s.client.multiprocess = !s.client.lldb // lldb claims it too, but works better with plain ids
		case "error-message+":
			s.client.errorText = true
		}
	}
	items := []string{fmt.Sprintf("PacketSize=%x", packetSize), "QStartNoAckMode+", "vContSupported+"}
	if !s.client.lldb {
		items = append(items, "multiprocess+", "binary-upload+", "error-message+")
	}
	if s.client.lldb {
		delete(s.selected.objects, "libraries") // lldb moves a whole file to where its first section is
	}
	for _, name := range slices.Sorted(maps.Keys(s.selected.objects)) {
		items = append(items, "qXfer:"+name+":read+")
	}
	return text(strings.Join(items, ";"))
}

// startNoAck answers QStartNoAckMode. lldb sends it before qSupported, gdb after: that
// distinguishes them.
func (s *session) startNoAck() reply {
	s.client.lldb = s.client.lldb || !s.client.asked
	return reply{payload: []byte("OK"), startNoAck: true}
}
