package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"physgdb/test/session"
)

// speaker starts an adapter that writes the given messages after it has read a line, and then reads
// until the end.
func speaker(t *testing.T, says ...string) *session.DAP {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	d, err := session.StartDAP(ctx, "sh", "-c", `read -r first; printf %s "$1"; exec cat >/dev/null`, "sh", strings.Join(says, ""))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// framed puts a header before a message.
func framed(content string) string {
	return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(content), content)
}

func TestDAPMatchesAnswersToRequests(t *testing.T) {
	d := speaker(t,
		framed(`{"seq":1,"type":"event","event":"output","body":{"output":"hello\n"}}`),
		framed(`{"seq":2,"type":"event","event":"stopped","body":{"reason":"first"}}`),
		framed(`{"seq":3,"type":"response","request_seq":2,"command":"b","success":false,"message":"no","body":{"error":{"format":"not so"}}}`),
		framed(`{"seq":4,"type":"response","request_seq":1,"command":"a","success":true,"body":{"answer":42}}`),
		framed(`{"seq":5,"type":"event","event":"stopped","body":{"reason":"second"}}`),
	)
	a, b := d.Send("a", map[string]int{"x": 1}), d.Send("b", nil)
	var body struct{ Answer int }
	if _, err := a.Wait(t.Context(), &body); err != nil || body.Answer != 42 {
		t.Errorf("a: %+v, %v", body, err)
	}
	if _, err := b.Wait(t.Context(), nil); !errors.Is(err, session.ErrRefused) || !strings.Contains(err.Error(), "not so") {
		t.Errorf("b: %v", err)
	}
	for _, want := range []string{"first", "second"} {
		var event struct{ Reason string }
		if err := d.Await(t.Context(), "stopped", &event); err != nil || event.Reason != want {
			t.Errorf("stopped by %q, %v, want %q", event.Reason, err, want)
		}
	}
	if n := d.Skip("stopped"); n != 0 {
		t.Errorf("%d more events", n)
	}
	if got := d.Printed(); got != "hello\n" {
		t.Errorf("printed %q", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if got := d.Transcript(); strings.Count(got, "\n") != 7 || !strings.Contains(got, `-> request  a {"x":1}`) {
		t.Errorf("the transcript is\n%s", got)
	}
}

func TestDAPRejectsBadFraming(t *testing.T) {
	for name, says := range map[string]string{
		"no length":         "Content-Type: x\r\n\r\n{}",
		"a wild length":     "Content-Length: 99999999999\r\n\r\n{}",
		"a negative length": "Content-Length: -1\r\n\r\n{}",
		"no header":         "hello\r\n\r\n",
		"no JSON":           framed("hello"),
	} {
		t.Run(name, func(t *testing.T) {
			d := speaker(t, says)
			if took, err := d.Do(t.Context(), "a", nil, nil); err == nil || took > 5*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			if err := d.Await(t.Context(), "stopped", nil); err == nil {
				t.Error("got an event")
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDAPStopsWaitingAtDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	d, err := session.StartDAP(ctx, "cat") // which echoes requests
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Do(ctx, "a", nil, nil); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "has ended") {
		t.Errorf("request: %v", err)
	}
	if err := d.Close(); err == nil {
		t.Error("the adapter was not killed")
	}
}

// TestDAPDeliversEventBeforeExit checks that the last event of an adapter that ends is delivered.
func TestDAPDeliversEventBeforeExit(t *testing.T) {
	for range 200 {
		d, err := session.StartDAP(t.Context(), "printf", "%s", framed(`{"type":"event","event":"terminated"}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Await(t.Context(), "terminated", nil); err != nil {
			t.Fatal(err)
		}
		if err := d.Await(t.Context(), "terminated", nil); err == nil {
			t.Fatal("the event was delivered twice")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
