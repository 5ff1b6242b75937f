package gdbstub_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"physgdb/gdbstub"
)

// tables are those of a machine with a process of a bad name.
func tables() []gdbstub.OSTable {
	return []gdbstub.OSTable{{
		Name: "processes", Title: "Processes", Description: "Listing of all processes",
		Columns: []string{"pid", "user", "command", "cores"},
		Rows: func(context.Context) ([][]string, error) {
			return [][]string{
				{"1", "root", "init", "0"},
				{"77", "0", "<b>&\"\x1b[2J\xff\n", "1", "surplus"},
				{"78", "1000"},
			}, nil
		},
	}, {
		Name: "modules", Title: "Kernel <modules>", Description: "Listing of all loaded kernel modules",
		Columns: []string{"name"},
		Rows:    func(context.Context) ([][]string, error) { return nil, nil },
	}}
}

func TestOSData(t *testing.T) {
	target := newAble()
	target.tables = tables()
	c := connect(t, target)
	for annex, want := range map[string][]string{
		"": {
			`<osdata type="types">`,
			`<item><column name="Type">processes</column><column name="Description">Listing of all processes</column>` +
				`<column name="Title">Processes</column></item>`,
			`<item><column name="Type">modules</column><column name="Description">Listing of all loaded kernel modules</column>` +
				`<column name="Title">Kernel &lt;modules&gt;</column></item>`,
		},
		"processes": {
			`<osdata type="processes">`,
			`<item><column name="pid">1</column><column name="user">root</column><column name="command">init</column>` +
				`<column name="cores">0</column></item>`,
			`<item><column name="pid">77</column><column name="user">0</column>` +
				`<column name="command">&lt;b&gt;&amp;&#34;\x1b[2J\xff</column><column name="cores">1</column></item>`,
			`<item><column name="pid">78</column><column name="user">1000</column><column name="command"></column>` +
				`<column name="cores"></column></item>`,
		},
		"modules": {`<osdata type="modules">`},
	} {
		want := strings.Join(append(append([]string{`<?xml version="1.0"?>`}, want...), "</osdata>", ""), "\n")
		if got := c.document("osdata", annex); got != want {
			t.Errorf("%q: got %s", annex, got)
		}
	}
	for _, annex := range []string{"Processes", "process", "a:b", ":", "types"} {
		c.expect("qXfer:osdata:read:"+annex+":0,1000", "E00")
	}
}

func TestGdbShowsTheTables(t *testing.T) {
	target := newAble()
	target.tables = tables()
	addr := serve(t, open(target), nil)
	out := gdb(t, "target remote "+addr, "info os", "info os processes", "info os modules", "info os a:b", "p $cr3")
	for _, want := range []string{
		`Type +Description +\n`, `\nprocesses +Listing of all processes +\n`, `\nmodules +Listing of all loaded kernel modules`,
		`\npid +user +command +cores +\n1 +root +init +0 +\n77 +0 +<b>&"\\x1b\[2J\\xff +1 +\n78 +1000\n`,
		`Can not fetch data now.`, `\$1 = 4096`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("gdb does not print %s", want)
		}
	}

	g := startMI(t, "")
	g.until("1-target-select remote "+addr, "1^connected")
	out = g.until("2-info-os", "2^done")
	if !strings.Contains(out, `{col0="processes",col1="Listing of all processes",col2="Processes"}`) {
		t.Errorf("gdb/MI lists the tables as %s", out)
	}
	out = g.until("3-info-os processes", "3^done")
	if !strings.Contains(out, `{col0="1",col1="root",col2="init",col3="0"}`) {
		t.Errorf("gdb/MI lists the processes as %s", out)
	}
	g.end()
}

func TestVMCoreInfoIsTheRawText(t *testing.T) {
	c := connect(t, newAble())
	if got := c.document("vmcoreinfo", ""); got != vmcoreInfo {
		t.Errorf("got %q", got)
	}
	c.expect("qXfer:vmcoreinfo:read::0,6", "mOSRELE")
	c.expect("qXfer:vmcoreinfo:read:x:0,10", "E00")
	out := gdb(t, "target remote "+serve(t, open(newAble()), nil), "maint packet qXfer:vmcoreinfo:read::0,1000")
	if !strings.Contains(out, `received: "lOSRELEASE=0.0-synthetic\x0aSYMBOL(init_task)=ffffffff9d002000\x0a`) {
		t.Error("gdb does not receive the text")
	}
}
