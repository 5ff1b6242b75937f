package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"physgdb/test/guest/witness"
)

// collect collects the values that tests compare from the running kernel.
func collect(c *clock) (*witness.Facts, error) {
	r := &reader{}
	f := r.kernel()
	f.CPUs = runtime.NumCPU()
	f.ModuleSections, f.ModuleBuildIDs = map[string]map[string]uint64{}, map[string]string{}
	f.ClockPID, f.ClockHello, f.ClockFSBase = c.pid, c.hello, c.fsBase
	for line := range strings.Lines(f.Modules) {
		name, _, _ := strings.Cut(line, " ")
		f.ModuleSections[name] = r.sections(name)
		if id := r.buildID(name); id != "" {
			f.ModuleBuildIDs[name] = id
		}
	}
	return f, r.err
}

// kernel collects the values about the kernel.
func (r *reader) kernel() *witness.Facts {
	return &witness.Facts{
		Release:    strings.TrimSpace(r.text("/proc/sys/kernel/osrelease")),
		Cmdline:    strings.TrimSpace(r.text("/proc/cmdline")),
		IOMem:      r.text("/proc/iomem"),
		Modules:    r.text("/proc/modules"),
		VMCoreInfo: strings.TrimSpace(r.text("/sys/kernel/vmcoreinfo")),
		Kallsyms:   sample(r.text("/proc/kallsyms")),
	}
}

// reader reads files and remembers the first error.
type reader struct{ err error }

func (r *reader) text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		r.fail(err)
	}
	return string(data)
}

// fail records an error unless there is one already.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// sections returns the addresses of a module's sections.
func (r *reader) sections(module string) map[string]uint64 {
	files, err := filepath.Glob(filepath.Join("/sys/module", module, "sections", "*"))
	if err != nil {
		r.fail(err)
	}
	all := map[string]uint64{}
	for _, file := range files {
		text := strings.TrimSpace(r.text(file))
		address, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			r.fail(fmt.Errorf("%s: %w", file, err))
		}
		all[filepath.Base(file)] = address
	}
	return all
}

// buildID returns the build id of a module in hex, or "" if it has none. The file is an ELF note:
// three 32-bit numbers, a name of the first one's length, and the id of the second one's, each
// padded to 4 bytes.
func (r *reader) buildID(module string) string {
	const head, name = 12, 4
	note, err := os.ReadFile(filepath.Join("/sys/module", module, "notes", ".note.gnu.build-id"))
	if err != nil {
		return ""
	}
	if len(note) < head+name || uint64(len(note)) < head+name+uint64(binary.LittleEndian.Uint32(note[4:])) {
		r.fail(fmt.Errorf("the build id of module %s is %d bytes: %x", module, len(note), note))
		return ""
	}
	return hex.EncodeToString(note[head+name:][:binary.LittleEndian.Uint32(note[4:])])
}
