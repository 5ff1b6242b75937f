package gdbstub_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// scripted is a connection whose client says everything at once and then listens.
type scripted struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline } // like a pipe
func (s *scripted) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
func (s *scripted) RemoteAddr() net.Addr             { return nil }

// framed makes packets of the lines of script.
func framed(script []byte) []byte {
	var stream bytes.Buffer
	w := rsp.NewWriter(&stream)
	for line := range bytes.SplitSeq(script, []byte("\n")) {
		_ = w.WritePacket(line) // a line that cannot be sent is left out
	}
	return stream.Bytes()
}

// FuzzConnection: whatever a client sends, as packets or as it is, the session ends and each of its
// replies is a well-formed packet.
func FuzzConnection(f *testing.F) {
	for _, seed := range []string{
		gdb13 + "\nQStartNoAckMode\n!\nHgp0.0\nqXfer:features:read:target.xml:0,1000\n?\nvAttach;1\nqC\nqOffsets\ng",
		"QStartNoAckMode\nqSupported:\nvCont?\n?\np0\nmffffffff9d000000,40\nx0,0\nk",
		"QStartNoAckMode\nqSupported:\nQThreadSuffixSupported\nQListThreadsInStopReply\nQEnableErrorStrings\n?\nqProcessInfo\n" +
			"p0;thread:0002;\nP2c=0050000000000000;thread:1;\ng;thread:1f;\nqThreadStopInfo1f\nx0,0\nxffffffff9d00002b,1\n_M8,rw",
		"qSymbol::\nqSymbol:ff:6c696e75785f62616e6e6572\nqSymbol::61\nqRcmd,68656c6c6f\nqRcmd,7",
		"vCont;s:p1.1;c:p1.-1\nZ0,1,1\nM0,1:00\nX0,0:\nP2c=0050000000000000\nG\nvRun;\nR\nvKill;1",
		"qfThreadInfo\nqsThreadInfo\nqThreadExtraInfo,1\nT1\nqXfer:threads:read::0,ffffffffffffffff\nD;1",
		"QStartNoAckMode\nqSearch:memory:ffffffff9d000000;2000;}\x03\x06\nqSearch:memory:;;\nqCRC:1000000,100\nqCRC:,\nqRcmd,00",
		"qSupported:multiprocess+\n!\nvAttach;7\nm0,10\nqXfer:auxv:read::0,10\nvCont;c\nvAttach;1\nD;7\nqfThreadInfo\nHgp7.1\nqC",
		"qXfer:osdata:read::0,1000\nqXfer:osdata:read:a:b:0,1\nqXfer:libraries:read::0,1000\nqXfer:vmcoreinfo:read::1,2",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, stream := range [][]byte{framed(script), script} {
			conn := &scripted{in: bytes.NewReader(stream)}
			var targets atomic.Int64
			server := gdbstub.NewServer(open(newOracle(1, &targets)), nil)
			_ = server.Serve(context.Background(), conn) // may fail, must end
			if n := targets.Load(); n != 0 {
				t.Fatalf("%d targets are left open", n)
			}
			replies := rsp.NewReader(&conn.out, 4*rsp.DefaultLimit)
			for {
				kind, _, err := replies.Next()
				if err == io.EOF {
					break
				}
				if err != nil || kind == rsp.Damaged {
					t.Fatalf("a malformed reply: %v, %v", kind, err)
				}
			}
		}
	})
}
