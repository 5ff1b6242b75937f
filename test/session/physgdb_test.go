package session_test

import (
	"errors"
	"io/fs"
	"testing"

	"physgdb/test/session"
)

func TestMissingCommand(t *testing.T) {
	missing := session.Physgdb(t.TempDir() + "/physgdb")
	r, err := missing.Run(t.Context(), "info")
	if !errors.Is(err, fs.ErrNotExist) || r.Status != -1 {
		t.Errorf("run: %+v, %v", r, err)
	}
	if _, err := missing.Start(t.Context(), "ready", "serve"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("start: %v", err)
	}
}
