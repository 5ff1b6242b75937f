package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"physgdb/test/session"
)

func TestLLDBAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := session.StartLLDB(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{"p 6*7": "= 42", "nonsense": "error: 'nonsense' is not a valid command"} {
		if step, err := l.Type(command); err != nil || !strings.Contains(step.Output, want) {
			t.Errorf("%s: %q, %v, want %q", command, step.Output, err, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if step, err := l.Type("version"); err == nil {
		t.Errorf("after its end it printed %q", step.Output)
	}
}

func TestLLDBStartTimesOut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if l, err := session.StartLLDB(ctx, ""); err == nil {
		t.Error("it started")
		l.Close()
	}
}
