package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"physgdb/test/session"
)

// args are the arguments of a request of the Debug Adapter Protocol.
type args map[string]any

// request is a request that an editor sends to a debug adapter for an action of the user.
type request struct {
	command string
	args    args
}

// The requests that resume a machine, after which an editor waits for a stop.
const (
	dapContinue  = "continue"
	dapNext      = "next"
	dapConfigure = "configurationDone"
)

// adapterRecipes has the start function of an adapter and the requests that an editor sends to it.
type adapterRecipes struct {
	start   func(ctx context.Context) (*session.DAP, error)
	attach  args // as in a launch.json
	actions map[string][]request
}

// dapDriver is an editor with its debug adapter. It starts one for each session, as editors do.
type dapDriver struct {
	*machine
	adapterRecipes
	adapter *session.DAP // nil: none runs
	printed int          // how much of the adapter's output was read
	thread  int          // in which the machine stopped last
	frame   int          // the innermost of it
	said    strings.Builder
}

// dapActions returns the requests that are the same for every adapter.
func dapActions() map[string][]request {
	return map[string][]request{
		backtrace: {{"stackTrace", args{"startFrame": 0, "levels": 1000}}},
		threads:   {{"threads", nil}},
		crowded:   {{"threads", nil}},
	}
}

// evaluate returns the request for an expression in the watch view.
func evaluate(expression string) request {
	return request{"evaluate", args{"expression": expression, "context": "watch"}}
}

// typed returns the request for a line in the debug console.
func typed(line string) request {
	return request{"evaluate", args{"expression": line, "context": "repl"}}
}

// functionBreakpoints returns the request that sets breakpoints and removes all others.
func functionBreakpoints(names ...string) request {
	all := []args{}
	for _, name := range names {
		all = append(all, args{"name": name})
	}
	return request{"setFunctionBreakpoints", args{"breakpoints": all}}
}

// do sends the requests of an editor for an action.
func (d *dapDriver) do(ctx context.Context, action string) (outcome, error) {
	var o outcome
	var err error
	switch action {
	case attach, reattach, crowded:
		err = d.connect(ctx, &o)
	case detach:
		err = d.disconnect(ctx, &o)
	case ctrlC:
		err = d.interrupt(ctx, &o)
	}
	for _, r := range d.actions[action] {
		if err != nil {
			break
		}
		err = d.send(ctx, &o, r)
	}
	return o, err
}

// connect starts an adapter and a session, up to the first stop.
func (d *dapDriver) connect(ctx context.Context, o *outcome) error {
	var err error
	if d.adapter, err = d.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	d.printed = 0
	for _, r := range []request{
		{"initialize", args{"adapterID": "physgdb", "pathFormat": "path", "linesStartAt1": true}},
		{"attach", d.attach},
	} {
		if err := d.send(ctx, o, r); err != nil {
			return err
		}
	}
	if err := d.adapter.Await(ctx, "initialized", nil); err != nil {
		return err
	}
	return d.send(ctx, o, request{dapConfigure, nil})
}

// disconnect ends the session and the adapter.
func (d *dapDriver) disconnect(ctx context.Context, o *outcome) error {
	if err := d.send(ctx, o, request{"disconnect", args{"terminateDebuggee": false}}); err != nil {
		return err
	}
	return d.end()
}

// interrupt requests a pause before the adapter has reported that the machine does not run.
func (d *dapDriver) interrupt(ctx context.Context, o *outcome) error {
	d.adapter.Skip("stopped")
	for _, call := range []*session.Call{
		d.adapter.Send(dapContinue, args{"threadId": d.thread}), d.adapter.Send("pause", args{"threadId": d.thread}),
	} {
		took, err := call.Wait(ctx, nil)
		o.took = max(o.took, took)
		if err != nil {
			return err
		}
	}
	return d.stopped(ctx, o)
}

// runs are the requests that are followed by a stop.
var runs = []string{dapConfigure, dapContinue, dapNext}

// send sends a request for the selected thread and frame. A refusal is part of the outcome.
func (d *dapDriver) send(ctx context.Context, o *outcome, r request) error {
	runs := slices.Contains(runs, r.command)
	if runs {
		d.adapter.Skip("stopped")
	}
	defer d.readPrinted(o)
	var body json.RawMessage
	took, err := d.adapter.Do(ctx, r.command, d.placed(r), &body)
	o.took += took
	if errors.Is(err, session.ErrRefused) {
		o.text += err.Error() + "\n"
		return nil
	}
	if err != nil {
		return err
	}
	o.text += fmt.Sprintf("{\"success\":true} %s\n", shown(body))
	o.items = append(o.items, dapItems(body)...)
	if runs {
		return d.stopped(ctx, o)
	}
	return nil
}

// readPrinted adds the new output of the adapter.
func (d *dapDriver) readPrinted(o *outcome) {
	all := d.adapter.Printed()
	o.text += all[d.printed:]
	d.printed = len(all)
}

// placed returns the arguments of a request with the selected thread or frame.
func (d *dapDriver) placed(r request) args {
	a := args{}
	maps.Copy(a, r.args)
	switch r.command {
	case "evaluate":
		a["frameId"] = d.frame
	case "stackTrace", dapContinue, dapNext:
		a["threadId"] = d.thread
	}
	return a
}

// stopped waits for the event that the machine has stopped, and asks for the innermost frame.
func (d *dapDriver) stopped(ctx context.Context, o *outcome) error {
	for {
		var at struct{ ThreadID int }
		if err := d.adapter.Await(ctx, "stopped", &at); err != nil {
			return err
		}
		d.thread = at.ThreadID
		var stack struct{ StackFrames []struct{ ID int } }
		var body json.RawMessage
		took, err := d.adapter.Do(ctx, "stackTrace", args{"threadId": d.thread, "startFrame": 0, "levels": 1}, &body)
		o.took += took
		o.text += string(body) + "\n"
		if err == nil {
			err = json.Unmarshal(body, &stack)
		}
		if err != nil {
			return err
		}
		if len(stack.StackFrames) > 0 {
			d.frame = stack.StackFrames[0].ID
			return nil
		}
		// That was an earlier stop: lldb's adapter reports some twice, the second time late.
	}
}

// stop ends the adapter if one runs.
func (d *dapDriver) stop(ctx context.Context) (string, error) {
	var err error
	if d.adapter != nil {
		err = d.disconnect(ctx, &outcome{})
	}
	return d.said.String(), err
}

// end ends the adapter as an editor does.
func (d *dapDriver) end() error {
	adapter := d.adapter
	d.adapter = nil
	err := adapter.Close()
	d.said.WriteString(adapter.Transcript() + "\n")
	return err
}

// shown returns the text of an answer for the user: the value of an expression, or the whole body.
func shown(body json.RawMessage) string {
	var value struct{ Result string }
	if json.Unmarshal(body, &value) == nil && value.Result != "" {
		return value.Result
	}
	return string(body)
}

// lldbThreadName is how lldb's adapter names a thread.
var lldbThreadName = regexp.MustCompile(`^Thread #\d+ (.*)$`)

// dapItems returns the threads or functions in an answer. lldb's adapter numbers threads by TID;
// that of gdb numbers them as gdb does and adds details in parentheses after the name.
func dapItems(body json.RawMessage) []string {
	var lists struct {
		StackFrames, Threads []struct {
			ID   int
			Name string
		}
	}
	if json.Unmarshal(body, &lists) != nil {
		return nil
	}
	var items []string
	for _, frame := range lists.StackFrames {
		items = append(items, frame.Name)
	}
	for _, thread := range lists.Threads {
		if m := lldbThreadName.FindStringSubmatch(thread.Name); m != nil {
			items = append(items, fmt.Sprint(thread.ID, " ", m[1]))
			continue
		}
		name, _, _ := strings.Cut(thread.Name, " (")
		items = append(items, noTID+name)
	}
	return items
}
