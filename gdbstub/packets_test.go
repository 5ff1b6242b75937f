package gdbstub_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"physgdb/gdbstub"
)

const (
	gdb13 = "qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;xmlRegisters=i386"
	gdb16 = "qSupported:multiprocess+;swbreak+;error-message+;QThreadOptions+;xmlRegisters=i386"
)

// exchange is one request and its replies.
type exchange struct {
	request string
	replies []string
}

func TestPackets(t *testing.T) {
	said := func(words string) string { return "O" + hex.EncodeToString([]byte(words)) }
	refusal := said("This kernel has panicked: it cannot run.\n")
	stopped := []string{refusal, "T02thread:p1.1;"}
	cases := map[string][]exchange{
		"a resume is refused with a sentence and SIGINT": {
			{"?", []string{"T05thread:p1.1;"}},
			{"vCont?", []string{"vCont;c;C;s;S"}}, {"vCont;c:p1.-1", stopped}, {"vCont;C0b:p1.1;c", stopped},
			{"c", stopped}, {"s", stopped}, {"C05", stopped}, {"S05", stopped}, {"cffffffff9d000000", stopped},
			{"vCont", stopped}, {"vCont;", stopped},
			{"vCont;s:p1.99;c:p1.-1", stopped},
			{"vCont;s:p1.1f;c:p1.-1", []string{refusal, "T02thread:p1.1f;"}},
		},
		"a client that selects other threads and resumes stays where it stopped": {
			{"?", []string{"T05thread:p1.1;"}}, {"Hgp1.1f", []string{"OK"}}, {"vCont;c:p1.-1", stopped}, {"c", stopped},
			{"vCont;s:p1.2;c:p1.-1", []string{refusal, "T02thread:p1.2;"}}, {"Hgp1.1", []string{"OK"}},
			{"vCont;c:p1.-1", []string{refusal, "T02thread:p1.2;"}},
		},
		"the thread that stopped is selected": {
			{"?", []string{"T05thread:p1.1;"}}, {"Hgp1.1f", []string{"OK"}},
			{"vCont;s:p1.2;c:p1.-1", []string{refusal, "T02thread:p1.2;"}}, {"p10", []string{"1000009dffffffff"}},
		},
		"writes and breakpoints are refused, never unsupported": {
			{"Mffffffff9d000000,1:00", []string{"E14"}}, {"Xffffffff9d000000,0:", []string{"E14"}},
			{"G00", []string{"E.Registers are written one by one."}},
			{"Z0,ffffffff9d000000,1", []string{"E01"}}, {"Z1,0,1", []string{"E01"}}, {"Z4,0,8", []string{"E01"}},
			{"z0,0,1", []string{"E01"}}, {"Z", []string{"E01"}},
			{"P0=0000000000000000", []string{"E.rax of a dead machine cannot be set, only cr3"}},
			{"P30=0000000000000000", []string{"E.There is no such register."}},
			{"P=", []string{"E.There is no such register."}},
			{"P0=00", []string{"E.a value of 2 digits does not fit rax"}},
			{"P0=000000000000000g", []string{"E.value of rax: decode hex: encoding/hex: invalid byte: U+0067 'g'"}},
			{"P18=00000000000000000000", []string{"E.a value of 20 digits does not fit st0"}},
		},
		"cr3 can be written": {
			{"P2c=0050000000000000", []string{"OK"}}, {"p2c", []string{"0050000000000000"}},
		},
		"registers": {
			{"p0", []string{"8877665544332211"}}, {"p11", []string{"46020000"}}, {"p1", []string{"xxxxxxxxxxxxxxxx"}},
			{"p18", []string{"xxxxxxxxxxxxxxxxxxxx"}}, {"p30", []string{"E01"}}, {"p", []string{"E01"}},
			{"p-1", []string{"E01"}}, {"pffffffffffffffff", []string{"E01"}},
			{"Hgp1.2", []string{"OK"}}, {"p10", []string{"1000009dffffffff"}},
		},
		"memory": {
			{"mffffffff9d000001,3", []string{"010203"}},
			{"mffffffff9d001ffe,8", []string{"feff"}}, // good bytes before the hole
			{"mffffffff9d002000,8", []string{"E14"}}, {"m0,8", []string{"E14"}},
			{"mffffffffffffffff,8", []string{"E14"}}, {"mffffffff9d000000,0", []string{"E14"}},
			{"mffffffff9d000000", []string{"E14"}}, {"m", []string{"E14"}}, {"m,", []string{"E14"}},
			{"mxyz,1", []string{"E14"}}, {"m1ffffffff9d000000,1", []string{"E14"}},
			{"xffffffff9d000022,4", []string{"b\"}\x03}\x04%"}}, {"x0,0", []string{"E14"}},
			{"xffffffff9d002000,4", []string{"E14"}},
		},
		"threads": {
			{"qC", []string{"QCp1.1"}}, {"qAttached", []string{"1"}}, {"qAttached:1", []string{"1"}},
			{"qfThreadInfo", []string{"mp1.1,p1.2,p1.1f"}}, {"qsThreadInfo", []string{"l"}}, {"qsThreadInfo", []string{"l"}},
			{"qThreadExtraInfo,p1.2", []string{hex.EncodeToString([]byte("bash pid 77"))}},
			{"qThreadExtraInfo,p1.3", []string{"E01"}}, {"qThreadExtraInfo", []string{"E01"}},
			{"Tp1.1f", []string{"OK"}}, {"Tp1.20", []string{"E01"}}, {"Tp2.1", []string{"E01"}}, {"T", []string{"E01"}},
			{"Hgp1.1f", []string{"OK"}}, {"qC", []string{"QCp1.1f"}}, {"Hgp1.99", []string{"E01"}},
			{"Hgp0.0", []string{"OK"}}, {"Hcp1.-1", []string{"OK"}}, {"Hc-1", []string{"OK"}}, {"Hg0", []string{"OK"}},
			{"Hgp1", []string{"OK"}}, {"Hg2", []string{"OK"}}, {"qC", []string{"QCp1.2"}},
			{"H", []string{"E01"}}, {"Hz1", []string{"E01"}}, {"Hgp1.", []string{"E01"}}, {"Hg-2", []string{"E01"}},
			{"Hgffffffffffffffff", []string{"E01"}},
		},
		"documents come in parts": {
			{"qXfer:threads:read::0,20", []string{"m<?xml version=\"1.0\"?>\n<threads>\n"[:33]}},
			{"qXfer:threads:read::fffffff0,10", []string{"l"}},
			{"qXfer:threads:read:x:0,10", []string{"E00"}}, {"qXfer:threads:read::,", []string{"E00"}},
			{"qXfer:features:read:other.xml:0,10", []string{"E00"}}, {"qXfer:auxv:read::0,10", []string{""}},
			{"qXfer:threads:write::0:x", []string{""}}, {"qXfer", []string{""}}, {"qXfer:threads", []string{""}},
		},
		"offsets, symbols, monitor": {
			{"qOffsets", []string{"TextSeg=ffffffff9d000000"}},
			{"qSymbol:12:6162", []string{"OK"}}, // an answer without a question
			{"qSymbol::", []string{"qSymbol:" + hex.EncodeToString([]byte("linux_banner"))}},
			{"qSymbol:ffff:" + hex.EncodeToString([]byte("linux_banner")),
				[]string{"qSymbol:" + hex.EncodeToString([]byte("no_such_symbol"))}},
			{"qSymbol::" + hex.EncodeToString([]byte("no_such_symbol")), []string{"OK"}},
			{"qRcmd," + hex.EncodeToString([]byte("hello")), []string{said("hello, user\n"), "OK"}},
			{"qRcmd," + hex.EncodeToString([]byte("bye")), []string{said("unknown command \"bye\"\n"), "OK"}},
			{"qRcmd,zz", []string{"E01"}},
		},
		"a search finds the first place, as a whole within the range, and says visibly when it failed": {
			{"qSearch:memory:ffffffff9d000000;2000;\x05\x06", []string{"1,ffffffff9d000005"}},
			{"qSearch:memory:ffffffff9d000006;2000;\x05\x06", []string{"1,ffffffff9d000105"}},
			{"qSearch:memory:ffffffff9d000000;2000;}\x03}\x04", []string{"1,ffffffff9d000023"}}, // "#$", escaped
			{"qSearch:memory:ffffffff9d000000;6;\x05\x06", []string{"0"}},
			{"qSearch:memory:ffffffff9d000000;7;\x05;\x06", []string{"0"}}, // a semicolon is part of it
			{"qSearch:memory:ffffffff9d000000;ffffffffffffffff;\x05", []string{"1,ffffffff9d000005"}},
			{"qSearch:memory:0;8;a", []string{"the search was not finished: 3% were searched; try ?more"}},
			{"qSearch:memory:1;8;", []string{"the search was not finished: the request makes no sense"}},
			{"qSearch:memory:1;8;}", []string{"the search was not finished: the request makes no sense"}},
			{"qSearch:memory:1;8", []string{"the search was not finished: the request makes no sense"}},
			{"qSearch:disk:1;8;a", []string{"the search was not finished: the request makes no sense"}},
		},
		// Of the bytes 0 to 0xff, and of "12345678", the bytes 0x31 to 0x38, by CRC-32/MPEG-2.
		"a checksum is of memory at load addresses": {
			{"qCRC:1000000,100", []string{"C494a116a"}}, {"qCRC:1000031,8", []string{"C49e3c2fb"}},
			{"qCRC:1000000,0", []string{"Cffffffff"}},
			{"qCRC:1001fff,2", []string{"E01"}}, {"qCRC:0,4", []string{"E01"}}, {"qCRC:ffffffffffffffff,2", []string{"E01"}},
			{"qCRC:1000000", []string{"E01"}}, {"qCRC", []string{"E01"}}, {"qCRC:x,1", []string{"E01"}},
		},
		"unknown packets get an empty reply": {
			{"vMustReplyEmpty", []string{""}}, {"qTStatus", []string{""}}, {"", []string{""}}, {"v", []string{""}},
			{"QThreadSuffixSupported", []string{""}}, {"\x00", []string{""}}, {"qExecAndArgs", []string{""}},
		},
		"there is one process, to attach to and to run never": {
			{"vRun;", []string{"E01"}}, {"vAttach;2", []string{"E01"}}, {"vAttach", []string{"E01"}},
			{"!", []string{"OK"}}, {"?", []string{"W00"}}, {"qfThreadInfo", []string{"l"}},
			{"vAttach;1", []string{"T05thread:p1.1;"}}, {"qC", []string{"QCp1.1"}},
			{"vKill;1", []string{"OK"}}, {"?", []string{"W00"}}, {"vAttach;1", []string{"T05thread:p1.1;"}},
			{"D;1", []string{"OK"}}, {"?", []string{"W00"}},
		},
	}
	for name, exchanges := range cases {
		t.Run(name, func(t *testing.T) {
			c := connect(t, newAble())
			c.ask(gdb13)
			for _, e := range exchanges {
				c.send(e.request)
				var got []string
				for range e.replies {
					got = append(got, c.receive())
				}
				if !slices.Equal(got, e.replies) {
					t.Errorf("%q is answered %q, want %q", e.request, got, e.replies)
				}
			}
			c.expect("qAttached", "1") // nothing was left over
		})
	}
}

// gdb and lldb resume at once if SIGINT is configured not to stop.
func TestAClientThatGoesOnWithoutALookIsStoppedByAnotherSignal(t *testing.T) {
	goOn := func(c *client, packet string, last int) {
		t.Helper()
		for i := 1; i <= last; i++ {
			want := "T02"
			if i == last {
				want = "T06"
			}
			c.send(packet)
			c.receive() // the sentence
			if got := c.receive(); !strings.HasPrefix(got, want) {
				t.Fatalf("%s is answered by %s at time %d, not by %s", packet, got, i, want)
			}
		}
	}
	c := connect(t, newAble())
	c.ask(gdb13)
	goOn(c, "vCont;s:p1.1;c:p1.-1", 17)
	goOn(c, "c", 17)
	for _, look := range []string{"qXfer:threads:read::0,1000", "qfThreadInfo"} {
		for range 8 {
			c.send("vCont;c:p1.-1")
			c.receive()
			c.receive()
		}
		c.ask(look)
		goOn(c, "vCont;c:p1.-1", 17)
	}
	c = connect(t, newAble()).asLLDB()
	goOn(c, "c", 17)
	c.send("c")
	c.receive()
	c.receive()
	c.ask("jThreadsInfo")
	goOn(c, "c", 17)
}

func TestATargetWithoutAbilitiesRefusesInWords(t *testing.T) {
	c := connect(t, newBare())
	c.expect(gdb16, "PacketSize=20000;QStartNoAckMode+;vContSupported+;multiprocess+;binary-upload+;error-message+;"+
		"qXfer:features:read+;qXfer:threads:read+")
	why := "The machine is halted: it can be examined, but it cannot run."
	c.expect("P2c=0050000000000000", "E.Registers are read-only. "+why)
	c.expect("M0,1:00", "E.The machine's memory is read-only.")
	c.expect("Z0,0,1", "E.A machine that cannot run takes no breakpoints.")
	c.expect("vRun;", "E."+why)
	c.expect("vAttach;4d2", "E.there is no process 1234, only 1, the machine")
	c.expect("m0,8", "E14")
	c.expect("qOffsets", "")
	c.expect("qSymbol::", "")
	c.expect("qRcmd,00", "")
	c.expect("qSearch:memory:0;8;a", "")
	c.expect("qCRC:0,8", "")
	c.expect("c", "O"+hex.EncodeToString([]byte(why+"\n")))
	if got := c.receive(); got != "T02thread:p1.1;" {
		t.Errorf("got %q", got)
	}
}

func TestEverythingAdvertisedIsAnswered(t *testing.T) {
	c := connect(t, newAble())
	for item := range strings.SplitSeq(c.ask(gdb16), ";") {
		if object, ok := strings.CutSuffix(item, ":read+"); ok && c.ask(object+":read::0,10") == "" {
			t.Errorf("%s is advertised, but not answered", item)
		}
	}
}

func TestReplyFormsForLLDB(t *testing.T) {
	c := connect(t, newAble())
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
	c.expect("qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+",
		"PacketSize=20000;QStartNoAckMode+;vContSupported+;qXfer:features:read+;qXfer:osdata:read+;"+
			"qXfer:threads:read+;qXfer:vmcoreinfo:read+")
	c.expect("qXfer:libraries:read::0,10", "")
	c.expect("?", "T05thread:1;hexname:"+hexed("swapper/0")+";")
	c.expect("qC", "QC1")
	c.expect("qfThreadInfo", "m1,2,1f")
	c.expect("qOffsets", fmt.Sprintf("Text=%x;Data=%[1]x;Bss=%[1]x", slide))
	c.expect("k", "X09")
	c.expectEnd()
}

func TestDetachAndKillEndThePlainSession(t *testing.T) {
	for _, packet := range []string{"D", "D;1", "vKill;1", "vKill;a410"} {
		c := connect(t, newAble())
		c.expect(packet, "OK")
		c.expectEnd()
	}
}

func TestSilentPackets(t *testing.T) {
	c := connect(t, newAble())
	c.send("R0")
	c.raw("\x03+\x03junk")
	c.expect("qAttached", "1")
}

func TestDamageIsRepairedInAckMode(t *testing.T) {
	c := connect(t, newAble())
	c.expect("qAttached", "1")
	for _, damage := range []string{
		"-",      // we send the reply again
		"$qC#00", // we ask for the request again, which is qAttached
	} {
		c.raw(damage)
		if got := c.receive(); got != "1" {
			t.Errorf("after %q: got %q", damage, got)
		}
	}
}

func TestDamageEndsTheSessionInNoAckMode(t *testing.T) {
	c := connect(t, newAble())
	c.expect("QStartNoAckMode", "OK")
	c.wire.StartNoAck()
	c.raw("---") // gdb's impatience
	c.expect("?", "T05thread:1;hexname:737761707065722f30;")
	c.raw("$qC#00")
	c.expectEnd()
}

func TestTooLongARequestEndsTheSession(t *testing.T) {
	c := connect(t, newAble())
	c.ask("X0,20000:" + strings.Repeat("x", 0x20000-9)) // the longest there may be
	c.send("X0,20000:" + strings.Repeat("x", 0x20000))
	c.expectEnd()
}

func TestALargeReadIsCutToOnePacket(t *testing.T) {
	target := newBare()
	target.memory = []region{{0x1000, bytes.Repeat([]byte{0x12}, 1<<20)}} // has no runs
	c := connect(t, target)
	if got := len(c.ask("m1000,ffffffffffffffff")); got != 0x20000 {
		t.Errorf("m is answered with %#x digits", got)
	}
	if got := len(c.ask("x1000,80000")); got != 1+0x10000 {
		t.Errorf("x is answered with %#x bytes", got)
	}
}

func TestRunsOfMemoryAreShort(t *testing.T) {
	target := newBare()
	target.memory = []region{{0x1000, make([]byte, 100)}, {0x1064, []byte("*")}}
	c := connect(t, target)
	c.expect("m1000,65", "0*~0*z000000002a") // 98 and 94 digits of twelve words, 4 bytes more, and the asterisk
	c.expect("x1000,65", "b"+strings.Repeat("\x00", 100)+"}\n")
}

func TestReadAtTheEndOfTheAddressSpace(t *testing.T) {
	target := newBare()
	target.memory = []region{{0xffffffffffffff00, slices.Repeat([]byte{0xab}, 0x100)}}
	c := connect(t, target)
	c.expect("mfffffffffffffffe,10", "abab")
}

// failing has threads, but whatever else fails.
type failing struct{ *bare }

var errBroken = errors.New("the bridge is down")

func (failing) Registers(context.Context, gdbstub.ThreadID) (gdbstub.Registers, error) {
	return nil, errBroken
}

// threadless fails to list its threads, or has none.
type threadless struct {
	*bare
	err error
}

func (f threadless) Threads(context.Context) ([]gdbstub.Thread, error) { return nil, f.err }

func TestFailuresOfTheTargetAreErrors(t *testing.T) {
	c := connect(t, failing{newBare()})
	c.ask(gdb13)
	c.expect("g", "E.the bridge is down")
	c.expect("p0", "E01")
	for _, err := range []error{nil, errBroken} {
		c = connect(t, threadless{newBare(), err})
		c.ask(gdb13)
		for _, packet := range []string{"?", "qC", "qfThreadInfo", "qXfer:threads:read::0,10", "Hgp1.1", "Tp1.1"} {
			c.expect(packet, "E01")
		}
		c.expect("mffffffff9d000000,1", "E14")
		c.send("c")
		c.receive()
		if got := c.receive(); got != "T02" {
			t.Errorf("c is answered %q", got)
		}
	}
}

func TestBadThreadsAreLeftOut(t *testing.T) {
	target := newBare()
	target.threads = []gdbstub.Thread{{ID: 0}, {ID: -1}, {ID: 5}, {ID: 5}, {ID: 1 << 31}}
	c := connect(t, target)
	c.expect("qfThreadInfo", "m5")
}

func TestBorrowedSymbolsReachTheTarget(t *testing.T) {
	target := newAble()
	c := connect(t, target)
	name := hex.EncodeToString([]byte("linux_banner"))
	for _, addr := range []uint64{0xffffffff9d002000, 0x401000} { // a second file was loaded
		c.ask("qSymbol::")
		c.ask(fmt.Sprintf("qSymbol:%x:%s", addr, name))
		c.expect("qSymbol::"+hex.EncodeToString([]byte("no_such_symbol")), "OK")
		got := *target.borrowed.Load()
		if len(got) != 1 || got["linux_banner"] != addr {
			t.Errorf("borrowed %v", got)
		}
	}
}
