package gdbstub_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub"
)

// faulty is a machine whose memory brings faults of the program that reads it to light.
type faulty struct{ *bare }

func (f faulty) ReadMemory(context.Context, gdbstub.ThreadID, uint64, []byte) (int, error) {
	panic("index out of range")
}

func (f faulty) Monitor(context.Context, io.Writer, string) error { panic("nil map") }

func (f faulty) Close() error { panic("closed twice") }

func TestAFaultIsTheErrorOfItsRequest(t *testing.T) {
	var log notes
	o := gdbstub.Options{Logger: hclog.New(&hclog.LoggerOptions{Output: &log})}
	addr := serve(t, open(faulty{newBare()}), &o)
	other := dial(t, addr)
	other.expect("qC", "QC1")

	c := dial(t, addr)
	c.expect("mffffffff9d000000,8", "E14")
	c.expect("qRcmd,00", "O"+hexed("internal error of the stub (see its log): nil map\n"))
	if got := c.receive(); got != "OK" {
		t.Errorf("the command ends with %q", got)
	}
	c.expect("p10", "0000009dffffffff")
	c.expect("D", "OK")
	c.expectEnd()
	other.expect("p10", "0000009dffffffff")
	for _, want := range []string{"please report", "index out of range", "nil map", "closed twice", "fault_test.go"} {
		for patience := 500; !strings.Contains(log.String(), want); patience-- { // it is closed without the client's knowledge
			if patience == 0 {
				t.Fatalf("the log does not say %q:\n%s", want, &log)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
