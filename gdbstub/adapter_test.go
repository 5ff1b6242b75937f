package gdbstub_test

import (
	"context"
	"net"
	"testing"
	"time"

	"physgdb/test/session"
)

// step is a request of an editor, the arguments that it has, and the event that it waits for after
// the answer, or "".
type step struct {
	command string
	args    map[string]any
	event   string
}

// driveCDT lets Eclipse CDT's debug adapter, with gdb under it, connect, look, try to run, and
// leave.
func driveCDT(t *testing.T, kernel, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	drive(t, session.StartGDBAdapter, []step{
		{"initialize", map[string]any{"adapterID": "gdbtarget", "pathFormat": "path"}, ""},
		{"attach", map[string]any{
			"program": kernel, "gdbArguments": []string{"-nx"}, "target": map[string]any{"host": host, "port": port},
		}, "initialized"},
		{"configurationDone", nil, "stopped"},
		{"threads", nil, ""},
		{"stackTrace", map[string]any{"threadId": 1}, ""},
		{"readMemory", map[string]any{"memoryReference": "0xffffffff9d000010", "count": 16}, ""},
		{"continue", map[string]any{"threadId": 1}, "stopped"},
		{"stepIn", map[string]any{"threadId": 1, "granularity": "instruction"}, "stopped"},
		{"setFunctionBreakpoints", map[string]any{"breakpoints": []any{map[string]any{"name": "*0xffffffff9d000020"}}}, ""},
		{"continue", map[string]any{"threadId": 1}, "stopped"},
		{"disconnect", map[string]any{}, ""},
	})
}

// driveLLDB lets lldb's debug adapter connect, look, try to run, and leave.
func driveLLDB(t *testing.T, kernel, address string) {
	drive(t, session.StartLLDBAdapter, []step{
		{"initialize", map[string]any{"adapterID": "lldb-vscode"}, ""},
		{"attach", map[string]any{
			"attachCommands": []string{"target create " + kernel, "gdb-remote " + address}, "stopOnEntry": true,
		}, "initialized"},
		{"configurationDone", nil, "stopped"},
		{"threads", nil, ""},
		{"stackTrace", map[string]any{"threadId": 1}, ""},
		{"continue", map[string]any{"threadId": 1}, "stopped"},
		{"setFunctionBreakpoints", map[string]any{"breakpoints": []any{map[string]any{"name": "inner"}}}, ""},
		{"continue", map[string]any{"threadId": 1}, "stopped"},
		{"disconnect", map[string]any{"terminateDebuggee": false}, ""},
	})
}

// drive plays an editor.
func drive(t *testing.T, start func(context.Context) (*session.DAP, error), steps []step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	defer cancel()
	d, err := start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		d.Skip(s.event)
		if _, err := d.Do(ctx, s.command, s.args, nil); err != nil {
			t.Fatalf("%v\n%s", err, d.Transcript())
		}
		if s.event == "" {
			continue
		}
		if err := d.Await(ctx, s.event, nil); err != nil {
			t.Fatalf("%v\n%s", err, d.Transcript())
		}
		time.Sleep(100 * time.Millisecond) // the debugger may still read what it shows of a stop
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
