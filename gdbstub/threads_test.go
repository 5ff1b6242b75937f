package gdbstub_test

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"physgdb/gdbstub"
)

// newCrowd is newKernel with n threads, all with a backtrace. Their ids fall: nothing may depend on
// order.
func newCrowd(t testing.TB, kernel string, n int) *able {
	t.Helper()
	target := newKernel(t, kernel)
	known := target.registers[1]
	target.threads = nil
	for i := range n {
		id := gdbstub.ThreadID(3*n - 2*i)
		target.threads = append(target.threads, gdbstub.Thread{ID: id, Name: fmt.Sprint("task", id), Text: "sleeps", Core: -1})
		target.registers[id] = known
	}
	return target
}

func TestGdbListsTwoThousandThreads(t *testing.T) {
	kernel := buildKernel(t)
	target := newCrowd(t, kernel, 2000)
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(target), nil), "info threads")
	rows := regexp.MustCompile(`(?m)^([* ]) (\d+) +Thread 1\.(\d+) +"task(\d+)" \(sleeps\) +inner \(n=0\)`).
		FindAllStringSubmatch(out, -1)
	if len(rows) != 2000 {
		t.Fatalf("%d threads", len(rows))
	}
	for i, row := range rows {
		mark, id := " ", fmt.Sprint(6000-2*i)
		if i == 0 {
			mark = "*"
		}
		if row[1] != mark || row[2] != fmt.Sprint(i+1) || row[3] != id || row[4] != id {
			t.Errorf("row %d is %q", i, row[0])
		}
	}
}

func TestGdbNumbersThreadsInTheOrderOfTheList(t *testing.T) {
	kernel := buildKernel(t)
	target := newKernel(t, kernel)
	known := target.registers[1]
	target.threads = nil
	for _, id := range []gdbstub.ThreadID{1500, 7, 1<<31 - 1, 3, 1 << 30} {
		target.threads = append(target.threads, gdbstub.Thread{ID: id, Name: "task", Core: -1})
		target.registers[id] = known
	}
	addr := serve(t, open(target), nil)
	list := regexp.MustCompile(`\* 1 +Thread 1\.1500 .*\n +2 +Thread 1\.7 .*\n +3 +Thread 1\.2147483647 .*\n` +
		` +4 +Thread 1\.3 .*\n +5 +Thread 1\.1073741824 `)
	for name, commands := range map[string][]string{
		"target remote":          {"target remote " + addr},
		"target extended-remote": {"target extended-remote " + addr, "attach 1"},
		"a second attach":        {"target extended-remote " + addr, "attach 1", "thread 3", "detach", "attach 1"},
	} {
		commands = append([]string{"file " + kernel}, commands...)
		out := gdb(t, append(commands, "info threads", "thread 3", "p $_thread", "p counter")...)
		if !list.MatchString(out) || !strings.Contains(out, "[Switching to thread 3 (Thread 1.2147483647)]") ||
			!strings.Contains(out, "$1 = 3\n$2 = 42") {
			t.Errorf("%s: gdb lists the threads otherwise", name)
		}
	}
}

func TestTheTargetIsAskedOncePerList(t *testing.T) {
	target := newAble()
	c := connect(t, target)
	expectCalls := func(when string, want int32) {
		t.Helper()
		if got := target.listed.Load(); got != want {
			t.Errorf("%s: %d calls of Threads, want %d", when, got, want)
		}
	}
	list := c.document("threads", "")
	expectCalls("a list", 1)

	c = connect(t, target)
	for _, packet := range []string{gdb13, "Hgp0.0", "qC", "?"} {
		c.ask(packet)
	}
	c.document("threads", "")
	expectCalls("a connect with a list", 2)
	for _, packet := range []string{"Tp1.1", "Tp1.2", "Tp1.99", "Hgp1.2", "g", "p10", "qC", "mffffffff9d000000,1",
		"qThreadExtraInfo,p1.1f", "vCont?", "?"} {
		c.ask(packet)
	}
	for offset := 0x10; offset < len(list); offset += 0x10 {
		c.ask(fmt.Sprintf("qXfer:threads:read::%x,10", offset))
	}
	expectCalls("questions about its members", 3) // by the second `?`, which takes a new one
	c.document("threads", "")
	expectCalls("the list after that", 3)
	c.document("threads", "")
	expectCalls("one more list", 4)
	c.ask("qfThreadInfo")
	c.ask("qsThreadInfo")
	expectCalls("a list in the older form", 5)
}

func TestAListIsNotOlderThanTheLastOne(t *testing.T) {
	target := newBare()
	c := connect(t, target)
	c.expect("?", "T05thread:1;")
	c.expect("qfThreadInfo", "m1,2,1f")
	target.threads = target.threads[1:]
	c.expect("T1", "OK") // of the list that the client has
	c.expect("qfThreadInfo", "m2,1f")
	c.expect("T1", "E01")
	c.expect("qC", "QC2") // the one selected is gone
}

func TestAnAttachSelectsTheFirstThread(t *testing.T) {
	c := connect(t, newBare())
	c.expect("!", "OK")
	c.expect("vAttach;1", "T05thread:1;")
	c.expect("Hg2", "OK")
	c.expect("qC", "QC2")
	c.expect("Hg0", "OK") // any: the present one is returned
	c.expect("qC", "QC2")
	c.expect("D;1", "OK")
	c.expect("vAttach;1", "T05thread:1;")
	c.expect("qC", "QC1")
}

func TestTwentyThousandThreads(t *testing.T) {
	target := newBare()
	target.threads = nil
	for i := range 20000 {
		target.threads = append(target.threads, gdbstub.Thread{ID: gdbstub.ThreadID(i + 1), Name: "task", Core: i % 4})
	}
	c := connect(t, target)
	c.ask(gdb13)
	seen := 0
	for list := c.ask("qfThreadInfo"); list != "l"; list = c.ask("qsThreadInfo") {
		if len(list) > 0x20000 {
			t.Fatalf("a packet of %#x bytes", len(list))
		}
		seen += strings.Count(list, "p1.")
	}
	if seen != 20000 {
		t.Errorf("%d threads", seen)
	}
	if got := strings.Count(c.document("threads", ""), "<thread id="); got != 20000 {
		t.Errorf("%d threads in the document", got)
	}
}

// dirty is every byte there is, as a dead machine's memory may hold it in place of a name.
func dirty() string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return string(all)
}

func TestGdbSurvivesTheNamesOfThreads(t *testing.T) {
	kernel := buildKernel(t)
	target := newKernel(t, kernel)
	known := target.registers[1]
	target.threads = nil
	names := []string{"first", dirty(), "]]>", "</thread>", "<!--", "&#0;", "\xff\xfe", "\u202e\u2028", "%s%n",
		"}}}***###$$$", "", "last"}
	for i, name := range names {
		id := gdbstub.ThreadID(i + 1)
		target.threads = append(target.threads, gdbstub.Thread{ID: id, Name: name, Text: name, Core: -1})
		target.registers[id] = known
	}
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(target), nil), "info threads", "thread 12", "p counter")
	if n := strings.Count(out, "inner (n=0)"); n != len(names)+2 { // and at the connect, and by thread 12
		t.Errorf("%d frames", n)
	}
	for _, want := range []string{`"]]>" (]]>)`, `"</thread>" (</thread>)`, `"%s%n" (%s%n)`, `"}}}***###$$$" (}}}***###$$$)`,
		`"\u202e\u2028" (\u202e\u2028)`, `Thread 1.11 `, `"last" (last)`, "$1 = 42"} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
	if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("gdb prints %q", out[i:min(i+20, len(out))])
	}
}

func TestExtraInfoIsReadable(t *testing.T) {
	target := newBare()
	target.threads = []gdbstub.Thread{{ID: 1, Name: "a\x1b[2J\x00", Text: "\xffü\n"}, {ID: 2}}
	c := connect(t, target)
	c.expect("qThreadExtraInfo,1", hex.EncodeToString([]byte(`a\x1b[2J\x00 \xffü`)))
	c.expect("qThreadExtraInfo,2", hex.EncodeToString([]byte("thread")))
}

// FuzzNames: whatever bytes a machine has for names, each document is well-formed XML that shows
// nothing unreadable.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"swapper/0", "", dirty(), "<![CDATA[", "\u202e", "\xed\xa0\x80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		target := newAble()
		target.threads = []gdbstub.Thread{{ID: 1, Name: name, Text: name}}
		target.libraries = []gdbstub.Library{{Name: name, Sections: []uint64{1}}}
		target.tables = []gdbstub.OSTable{{Name: name, Title: name, Description: name, Columns: []string{name}}}
		c := pipe(t, target)
		for _, object := range []string{"threads", "libraries", "osdata"} {
			doc := c.document(object, "")
			if err := xml.Unmarshal([]byte(doc), new(struct{})); err != nil {
				t.Errorf("%s: %v", object, err)
			}
			if i := strings.IndexFunc(doc, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s holds %q", object, doc[i:min(i+20, len(doc))])
			}
		}
	})
}
