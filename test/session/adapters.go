package session

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"
)

// npmScript installs the debug adapter for node and prints the path of its main file.
//
//go:embed npm.sh
var npmScript string

// StartGDBAdapter starts the debug adapter of Eclipse CDT for gdb, in its form for remote targets.
// It is downloaded at first use.
func StartGDBAdapter(ctx context.Context) (*DAP, error) {
	install := exec.CommandContext(ctx, "sh", "-c", npmScript)
	var stderr bytes.Buffer
	install.Stderr = &stderr
	file, err := install.Output()
	if err != nil {
		return nil, fmt.Errorf("install cdt-gdb-adapter: %w\n%s", err, stderr.Bytes())
	}
	return StartDAP(ctx, "node", strings.TrimSpace(string(file)))
}

// StartLLDBAdapter starts the debug adapter of lldb as Debian has it.
func StartLLDBAdapter(ctx context.Context) (*DAP, error) { return StartDAP(ctx, "lldb-vscode-14") }
