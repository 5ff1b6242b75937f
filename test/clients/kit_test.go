package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"physgdb/test/guest"
)

// kit lists the files of the dead kernel that a user has besides its memory.
type kit struct {
	name    string
	about   string                        // above its table
	options func(g *guest.Guest) []string // of physgdb serve
	files   func(ctx context.Context, r *rig, g *guest.Guest) (files, error)
}

// files are the files that a client loads by itself.
type files struct {
	kernel, module string
	made           bool // from memory: the stub serves them, too; a module's file has its final address
}

// kits has one kit for each table.
var kits = []kit{nothing, debugFiles}

// nothing has no files: the stub makes one from the machine's memory. For clients that request
// no files from a stub, this file and those of the modules are written beforehand.
var nothing = kit{
	name: "no vmlinux",
	about: "`physgdb serve SOURCE`, without a file of the kernel. gdb and cdt-gdb-adapter start without one; the\n" +
		"others with the file that `physgdb symbols SOURCE -o vmlinux --modules-to DIR` makes from memory.",
	options: func(*guest.Guest) []string { return nil },
	files: func(ctx context.Context, r *rig, g *guest.Guest) (files, error) {
		dir, err := os.MkdirTemp(r.dir, "made-")
		if err != nil {
			return files{}, err
		}
		made := files{kernel: filepath.Join(dir, "vmlinux"), module: filepath.Join(dir, "trouble.ko"), made: true}
		result, err := r.physgdb.Run(ctx, "symbols", g.Source(), "-o", made.kernel, "--modules-to", dir)
		if err == nil && result.Status != 0 {
			err = fmt.Errorf("physgdb symbols: exit status %d: %s", result.Status, result.Stderr)
		}
		return made, err
	},
}

// debugFiles are the vmlinux with its debug information, and the files of the modules.
var debugFiles = kit{
	name:  "vmlinux",
	about: "`physgdb serve SOURCE --vmlinux vmlinux --modules DIR`, and every client starts with that vmlinux.",
	options: func(g *guest.Guest) []string {
		return []string{"--vmlinux", g.Kernel.Vmlinux, "--modules", filepath.Dir(g.Kernel.Trouble)}
	},
	files: func(_ context.Context, _ *rig, g *guest.Guest) (files, error) {
		return files{kernel: g.Kernel.Vmlinux, module: g.Kernel.Trouble}, nil
	},
}

// suits reports whether a client can use the files of a kit. lldb 14 takes six minutes of CPU
// to connect with the vmlinux of Debian's 6.1, where a task sleeps in a function with a cold part:
// it disassembles the megabytes between the parts.
func (k kit) suits(c client, release string) bool {
	switch c.(type) {
	case lldbCLI, lldbAdapter:
		return k.name != debugFiles.name || release != "6.1"
	}
	return true
}
