package session_test

import (
	"errors"
	"io/fs"
	"testing"

	"physgdb/test/session"
)

func TestMissingCommand(t *testing.T) {
	nobody := session.Physgdb(t.TempDir() + "/physgdb")
	r, err := nobody.Run(t.Context(), "info")
	if !errors.Is(err, fs.ErrNotExist) || r.Status != -1 {
		t.Errorf("run: %+v, %v", r, err)
	}
	if _, err := nobody.Start(t.Context(), "ready", "serve"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("start: %v", err)
	}
}
