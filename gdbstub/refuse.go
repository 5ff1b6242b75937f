package gdbstub

import (
	"time"

	"physgdb/gdbstub/internal/accept"
	"physgdb/gdbstub/rsp"
)

// refuse answers a client with the reason why it is not served, and closes conn after patience at
// the latest.
//
// The protocol has no packet for that. But gdb checks early on that vMustReplyEmpty gets an empty
// reply, and gives up the connect with a message that quotes any other.
func refuse(conn *accept.Conn, patience time.Duration, why string) {
	defer conn.Close()
	give := time.AfterFunc(patience, func() { conn.Close() }) // also ends a connection that knows no deadlines
	defer give.Stop()
	wire := rsp.NewConn(conn, packetSize)
	for {
		kind, packet, err := wire.Read()
		if err != nil {
			return
		}
		if kind != rsp.Packet {
			continue
		}
		r := refusal(parseRequest(packet), why)
		if wire.Write(r.payload) != nil {
			return
		}
		if r.startNoAck {
			wire.StartNoAck()
		}
	}
}

// refusal is the reply to one packet of a client that is not served.
func refusal(r request, why string) reply {
	switch r.name {
	case "vMustReplyEmpty":
		return sentence(why)
	case "QStartNoAckMode": // lldb's first packet
		return reply{payload: []byte("OK"), startNoAck: true}
	case "?":
		return text(codeRefused)
	}
	return unsupported()
}
