package gdbstub

import (
	"bytes"
	"context"
)

// dispatch finds the handler of a packet (gdb manual, appendix E.2 "Packets" and E.4 "General Query
// Packets"). What is not listed gets an empty reply: the client knows then that it must do without.
func (s *session) dispatch(ctx context.Context, r request) reply {
	args := r.args
	switch r.name {
	case "?":
		return s.stopReason(ctx)
	case "!":
		return s.extend(ctx)
	case "H":
		return s.selectThread(ctx, args)
	case "T":
		return s.isThreadAlive(ctx, args)

	case "g":
		return s.readRegisters(ctx, args)
	case "p":
		return s.readRegister(ctx, args)
	case "P":
		return s.writeRegister(ctx, args)
	case "G":
		return s.refuse("Registers are written one by one.")

	case "m":
		return s.readMemory(ctx, args)
	case "x":
		return s.readMemoryBinary(ctx, args)
	case "M", "X":
		return s.fail(codeMemory, "The machine's memory is read-only.")
	case "_":
		return s.fail(codeRefused, "The machine's memory is read-only.") // of lldb, which then interprets expressions
	case "z", "Z":
		return s.fail(codeRefused, "A machine that cannot run takes no breakpoints.")

	case "c", "C", "s", "S":
		return s.resumeLast(ctx, r)
	case "D":
		return s.detach(ctx, args)
	case "k":
		return reply{payload: []byte("X09"), end: true} // gdb does not wait for it, lldb does
	case "R":
		return silence()
	}
	return s.dispatchNamed(ctx, r)
}

// dispatchNamed finds the handler of a packet whose name is a word.
func (s *session) dispatchNamed(ctx context.Context, r request) reply {
	args := r.args
	switch r.name {
	case "qSupported":
		return s.supported(args)
	case "QStartNoAckMode":
		return s.startNoAck()
	case "qXfer":
		return s.transfer(ctx, args)

	case "qC":
		return s.currentThread(ctx)
	case "qAttached":
		return text("1") // makes gdb detach when it quits; 0 would make it kill
	case "qfThreadInfo":
		return s.firstThreads(ctx)
	case "qsThreadInfo":
		return s.moreThreads()
	case "qThreadExtraInfo":
		return s.threadExtraInfo(ctx, args)
	case threadStop:
		return s.threadStopInfo(ctx, args)
	case "jThreadsInfo":
		return s.threadsInfo(ctx)

	case "QThreadSuffixSupported":
		return s.extension(&s.client.threadSuffix)
	case "QListThreadsInStopReply":
		return s.extension(&s.client.threadsInStop)
	case "QEnableErrorStrings":
		return s.extension(&s.client.errorStrings)
	case "qHostInfo":
		return s.hostInfo()
	case "qProcessInfo":
		return s.processInfo()

	case "qSearch":
		return s.searchMemory(ctx, args)
	case "qCRC":
		return s.checksumMemory(ctx, args)

	case "qOffsets":
		return s.offsets(ctx)
	case "qSymbol":
		return s.lendSymbol(ctx, args)
	case "qRcmd":
		return s.runMonitor(ctx, args)
	case "qqemu":
		return s.qemuQuery(ctx, args)
	case "Qqemu":
		return s.setQemu(ctx, args)
	case "qMemoryRegionInfo":
		return s.regionInfo(ctx, args)

	case "vCont":
		return s.vCont(ctx, args)
	case "vAttach":
		return s.attach(ctx, args)
	case "vFile":
		return s.vFile(ctx, args)
	case "vKill":
		return s.kill(ctx, args)
	case "vRun":
		return s.fail(codeRefused, s.selected.can.whyHalted)
	}
	return unsupported()
}

// request is a packet from the client, split into its name and what follows. A packet that starts
// with q, Q, v or j has a word for a name; all others have one character.
type request struct {
	name string
	args []byte // valid until the next packet is read
}

// threadStop is a packet whose name runs into the number of a thread, in hex.
const threadStop = "qThreadStopInfo"

// parseRequest splits a packet.
func parseRequest(packet []byte) request {
	if len(packet) == 0 {
		return request{}
	}
	if rest, found := bytes.CutPrefix(packet, []byte(threadStop)); found {
		return request{threadStop, rest}
	}
	end := 1
	if bytes.IndexByte([]byte("qQvj"), packet[0]) >= 0 {
		for end < len(packet) && isLetter(packet[end]) {
			end++
		}
	}
	return request{string(packet[:end]), packet[end:]}
}

func isLetter(b byte) bool { return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' }
