package main

import (
	"bytes"
	"crypto/sha1"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dummy is the name that the module has in its file.
const dummy = "dummy_000"

// loadDummies loads the module as often as configured, each time under another name. Each is
// given the function of the one before it.
func loadDummies(o *options) error {
	if o.modules == 0 {
		return nil
	}
	file, err := os.ReadFile("/" + dummy + ".ko")
	if err != nil {
		return err
	}
	next := "0"
	for i := range o.modules {
		name := fmt.Sprintf("dummy_%03d", i)
		image, err := renamed(file, name)
		if err != nil {
			return err
		}
		if err := restart(func() error { return unix.InitModule(image, "next="+next) }); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		entry, err := os.ReadFile(filepath.Join("/sys/module", name, "parameters/entry"))
		if err != nil {
			return err
		}
		next = strings.TrimSpace(string(entry))
	}
	return nil
}

// renamed returns the module's file with another name, of the same length, and another build id.
func renamed(file []byte, name string) ([]byte, error) {
	if len(name) != len(dummy) {
		return nil, fmt.Errorf("%s: more modules than names", name)
	}
	parsed, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	image := bytes.ReplaceAll(file, []byte(dummy), []byte(name))
	const idSize = sha1.Size
	if note := parsed.Section(".note.gnu.build-id"); note != nil && note.Size >= idSize {
		id := sha1.Sum([]byte(name))
		copy(image[note.Offset+note.Size-idSize:], id[:]) // the note ends with it
	}
	return image, nil
}

// callDummies calls the last module, which calls all others.
func callDummies() error {
	doors, err := filepath.Glob("/sys/module/dummy_*/parameters/go")
	if err != nil || len(doors) == 0 {
		return fmt.Errorf("no modules dummy_*: %w", err)
	}
	return write(slices.Max(doors), "1")
}
