package gdbstub_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

const lldb14 = "qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+"

func hexed(words string) string { return hex.EncodeToString([]byte(words)) }

// asLLDB makes a client behave as lldb does at the start, up to the extensions.
func (c *client) asLLDB(extensions ...string) *client {
	c.t.Helper()
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
	c.ask(lldb14)
	for _, extension := range extensions {
		c.expect(extension, "OK")
	}
	return c
}

func TestLldbPackets(t *testing.T) {
	all := []string{"QThreadSuffixSupported", "QListThreadsInStopReply", "QEnableErrorStrings"}
	odd := hexed(`a<b>&"c\x01`) // the name of thread 1f, escaped
	said := "O" + hexed("This kernel has panicked: it cannot run.\n")
	ids := "threads:1,2,1f;"
	for name, exchanges := range map[string][]exchange{
		"it gets the machine's triple": {
			{"qHostInfo", []string{"triple:" + hexed("x86_64-unknown-unknown") + ";"}},
			{"qProcessInfo", []string{"pid:1;triple:" + hexed("x86_64-unknown-unknown") + ";"}},
		},
		"a stop lists the threads": {
			{"?", []string{"T05thread:1;hexname:" + hexed("swapper/0") + ";" + ids}},
			{"vCont;s:1f", []string{said, "T02thread:1f;hexname:" + odd + ";" + ids}},
			{"c", []string{said, "T02thread:1f;hexname:" + odd + ";" + ids}},
		},
		"each thread has stopped for no reason": {
			{"qThreadStopInfo2", []string{"T00thread:2;hexname:" + hexed("bash") +
				";07:10000000" + "00c9ffff;10:1000009dffffffff;reason:none;"}},
			{"qThreadStopInfo1f", []string{"T00thread:1f;hexname:" + odd + ";reason:none;"}},
			{"qThreadStopInfo3", []string{"E01;" + hexed("there is no such thread")}},
			{"qThreadStopInfo0", []string{"E01;" + hexed("there is no such thread")}},
			{"qThreadStopInfo", []string{"E01;" + hexed("there is no such thread")}},
			{"qThreadStopInfox", []string{"E01;" + hexed("there is no such thread")}},
		},
		"one reply has all threads": {
			{"jThreadsInfo", []string{strings.ReplaceAll(`[{"tid":1,"name":"swapper/0","reason":"none","registers":{"0":"8877665544332211",`+
				`"16":"0000009dffffffff","17":"46020000","44":"0010000000000000","7":"0000000000c9ffff"}},`+
				`{"tid":2,"name":"bash","reason":"none","registers":{"16":"1000009dffffffff","7":"1000000000c9ffff"}},`+
				`{"tid":31,"name":"a\u003cb\u003e\u0026\"c\\x01","reason":"none"}]`, "}", "}]")}},
		},
		"a register packet names its thread": {
			{"p10;thread:0001;", []string{"0000009dffffffff"}}, {"p10;thread:0002;", []string{"1000009dffffffff"}},
			{"p10;thread:2;", []string{"1000009dffffffff"}}, {"p10", []string{"0000009dffffffff"}},
			{"p10;thread:0003;", []string{"E01;" + hexed("there is no such thread")}},
			{"p10;thread:;", []string{"E01;" + hexed("there is no such thread")}},
			{"p10;thread:zz;", []string{"E01;" + hexed("there is no such thread")}},
			{"p10;thread:0;", []string{"E01;" + hexed("there is no such thread")}},
			{"P2c=0050000000000000;thread:0001;", []string{"OK"}}, {"p2c;thread:0001;", []string{"0050000000000000"}},
			{"P2c=0050000000000000;thread:0003;", []string{"E01;" + hexed("there is no such thread")}},
			{"g;thread:0003;", []string{"E01;" + hexed("there is no such thread")}},
		},
		"a register that is unavailable has too few bytes, even the first": {
			{"p0;thread:0002;", []string{"xx"}}, {"p1;thread:0001;", []string{"xx"}}, {"p18", []string{"xx"}},
			{"p0;thread:0001;", []string{"8877665544332211"}}, {"p30;thread:0001;", []string{"E01"}},
		},
		"refusals come with words": {
			{"P0=0000000000000000;thread:0001;", []string{"E01;" + hexed("rax of a dead machine cannot be set, only cr3")}},
			{"G00", []string{"E01;" + hexed("Registers are written one by one.")}},
			{"Mffffffff9d000000,1:00", []string{"E14;" + hexed("The machine's memory is read-only.")}},
			{"Z0,ffffffff9d000000,1", []string{"E01;" + hexed("A machine that cannot run takes no breakpoints.")}},
			{"_M1000,rwx", []string{"E01;" + hexed("The machine's memory is read-only.")}},
			{"_m1000", []string{"E01;" + hexed("The machine's memory is read-only.")}},
		},
		"memory is read as bytes and nothing else": {
			{"x0,0", []string{"OK"}},
			{"xffffffff9d000041,4", []string{"ABCD"}},
			{"xffffffff9d000022,4", []string{"\"}\x03}\x04%"}},
			{"xffffffff9d002000,4", []string{"E14"}}, {"x", []string{"E14"}}, {"x0,1", []string{"E14"}},
			{"xffffffff9d001ffe,8", []string{"\xfe\xff"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, newAble()).asLLDB(all...)
			for _, e := range exchanges {
				c.send(e.request)
				for _, want := range e.replies {
					if got := c.receive(); got != want {
						t.Errorf("%q is answered %q, want %q", e.request, got, want)
					}
				}
			}
		})
	}
}

func TestLldbThatSwitchesNothingOnGetsThePlainForms(t *testing.T) {
	c := connect(t, newAble()).asLLDB()
	c.expect("?", "T05thread:1;hexname:"+hexed("swapper/0")+";")
	c.expect("Z0,0,1", "E01")
	c.expect("G00", "E01")
	c.expect("p10;thread:0002;", "E01")
	c.expect("Hg2", "OK")
	c.expect("p10", "1000009dffffffff")
}

func TestGdbIsRefusedWhatIsForLldb(t *testing.T) {
	c := connect(t, newAble())
	c.ask(gdb13)
	for _, packet := range []string{"QThreadSuffixSupported", "QListThreadsInStopReply", "QEnableErrorStrings", "qHostInfo",
		"qProcessInfo", "jThreadsInfo", "qThreadStopInfo1"} {
		c.expect(packet, "")
	}
	c.expect("p10;thread:0002;", "E01")
}

// Data that look like another kind of reply are sent as bytes.
func TestLldbReadsBytesThatLookLikeWords(t *testing.T) {
	for data, want := range map[string]string{
		"+": "+\x00", "-": "-\x00", "OK": "OK\x00", "E01": "E01\x00", "E99;6162": "E99;6162\x00", "EEG": "EEG\x00",
		"E": "E", "O": "O", "E0": "E0", "OKAY": "OKAY", "+-": "+-", "E01 ": "E01 ",
	} {
		target := newBare()
		target.memory = []region{{0x1000, []byte(data)}}
		c := connect(t, target).asLLDB()
		c.expect(fmt.Sprintf("x1000,%x", len(data)), want) // lldb drops what it did not ask for
		var got strings.Builder
		for got.Len() < len(data) && len(data) > 1 { // lldb goes on after a short answer
			part := c.ask(fmt.Sprintf("x%x,%x", 0x1000+got.Len(), 0x100))
			if part == "" || part == "E14" {
				break
			}
			got.WriteString(part)
		}
		if len(data) > 1 && got.String() != data {
			t.Errorf("%q before a hole is read as %q", data, got.String())
		}
	}
}
