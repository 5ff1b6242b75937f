package command

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/test/rig"
)

// script writes the completion of a shell to a file and returns its path.
func script(t *testing.T, shell string) string {
	t.Helper()
	var b bytes.Buffer
	rig.Must(t, completion(shell)(&b))
	path := filepath.Join(t.TempDir(), "completion")
	rig.Must(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func TestBashCompletes(t *testing.T) {
	path := script(t, "bash")
	dir := t.TempDir()
	rig.Must(t, os.WriteFile(filepath.Join(dir, "image"), nil, 0o600))
	for line, want := range map[string]string{
		"physgdb b":                       "bt",
		"physgdb v":                       "vtop version",
		"physgdb bt --no":                 "--no-lines --notify",
		"physgdb bt image blo":            "blocked",
		"physgdb info im":                 "image",
		"physgdb info --symbols r":        "ram",
		"physgdb info --symbols im":       "image",
		"physgdb info --log-level d":      "debug",
		"physgdb serve image --threads c": "cpus",
		"physgdb completion f":            "fish",
		"physgdb read image --ph":         "--phys",
	} {
		words := strings.Fields(line)
		code := `. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _physgdb; echo "${COMPREPLY[@]}"`
		cmd := exec.Command("bash", append([]string{"-c", code, path}, words...)...)
		cmd.Dir = dir
		got, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

// TestCompletionParses has each shell that is installed parse its script.
func TestCompletionParses(t *testing.T) {
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		path := script(t, shell)
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		if out, err := exec.Command(shell, check, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// TestEverythingIsDocumented checks that the scripts and the manual page have every command and
// every option.
func TestEverythingIsDocumented(t *testing.T) {
	var man bytes.Buffer
	rig.Must(t, Man(&man))
	texts := map[string]string{"man": strings.ReplaceAll(man.String(), `\-`, "-")}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := os.ReadFile(script(t, shell))
		rig.Must(t, err)
		texts[shell] = string(text)
	}
	for _, c := range shellCommands() {
		for _, o := range c.AllOptions() {
			for name, text := range texts {
				option := Dashed(o.Name)
				if name == "fish" {
					option = strings.Replace(strings.Replace(option, "--", "-l ", 1), "-"+o.Name, "-s "+o.Name, 1)
				}
				if !strings.Contains(text, c.Name) || !strings.Contains(text, option) {
					t.Errorf("%s: no %s of %s", name, option, c.Name)
				}
			}
		}
	}
}

func TestManPageFormats(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed")
	}
	var man bytes.Buffer
	rig.Must(t, Man(&man))
	cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = &man
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
