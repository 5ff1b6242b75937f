package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
)

// programs returns the programs of every guest: packages of this repository, by name.
func programs() []string { return []string{"init", "clock"} }

// roles returns the names under which a guest runs test/guest/extras.
func roles() []string { return []string{"spinner", "stuck", "crowd", "faulter"} }

// buildPrograms builds the guest's programs into dir: static, at fixed addresses, with debug
// information.
func buildPrograms(ctx context.Context, dir string) error {
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	for _, name := range programs() {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=exe", "-o", filepath.Join(dir, name), "./test/guest/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOEXPERIMENT=")
		if _, err := output(ctx, cmd, root); err != nil {
			return fmt.Errorf("build the guest's %s: %w", name, err)
		}
	}
	_, err = run(ctx, filepath.Join(root, "test/guest/extras"), "gcc-12", "-static", "-no-pie", "-O1", "-g", "-Wall",
		"-Wextra", "-Werror", "-pthread", "-o", filepath.Join(dir, "extras"), "extras.c")
	if err != nil {
		return fmt.Errorf("build the guest's extras: %w", err)
	}
	_, err = run(ctx, filepath.Join(root, "test/guest/compat"), "gcc-12", "-m32", "-static", "-nostdlib", "-no-pie", "-fno-pie",
		"-O1", "-fno-omit-frame-pointer", "-g", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(dir, "compat"), "compat.c")
	if err != nil {
		return fmt.Errorf("build the guest's compat: %w", err)
	}
	return nil
}

// writeInitramfs writes the guest's root file system.
func writeInitramfs(file string, k *Kernel, programs string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("pack the guest's files: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := &archive{w: cpio.NewWriter(f)}
	for _, dir := range []string{"bin", "dev", "drivers", "proc", "sys"} {
		a.add(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755}, nil)
	}
	// /dev/console, which process 1 starts with, is in the kernel's own initramfs.
	a.addFile("init", filepath.Join(programs, "init"))
	a.addFile("bin/clock", filepath.Join(programs, "clock"))
	a.addLink("bin/sleeper", "/init")
	a.addFile("bin/extras", filepath.Join(programs, "extras"))
	for _, role := range roles() {
		a.addLink("bin/"+role, "extras")
	}
	a.addFile("bin/compat", filepath.Join(programs, "compat"))
	for name, module := range map[string]string{
		"physgdb.ko": k.Module, "trouble.ko": k.Trouble, "instrumented.ko": k.Instrumented, "dummy_000.ko": k.Dummy,
	} {
		if module != "" {
			a.addFile(name, module)
		}
	}
	for _, driver := range k.Drivers {
		a.addFile(path.Join("drivers", filepath.Base(driver)), driver)
	}
	if a.err == nil {
		a.err = a.w.Close()
	}
	if a.err != nil {
		return fmt.Errorf("pack the guest's files: %w", a.err)
	}
	return nil
}

// addSecondKernel appends to an initramfs a directory kexec with the kernel and the initramfs that
// a guest starts by kexec. The kernel unpacks archives that follow one another
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func addSecondKernel(file, vmlinuz string) (err error) {
	first, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("pack the second kernel: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("pack the second kernel: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := &archive{w: cpio.NewWriter(f)}
	a.add(&cpio.Header{Name: "kexec", Mode: cpio.TypeDir | 0o755}, nil)
	a.addFile("kexec/vmlinuz", vmlinuz)
	a.add(&cpio.Header{Name: "kexec/initramfs", Mode: cpio.TypeReg | 0o644}, first)
	if a.err == nil {
		a.err = a.w.Close()
	}
	if a.err != nil {
		return fmt.Errorf("pack the second kernel: %w", a.err)
	}
	return nil
}

// archive is a cpio writer that remembers the first error.
type archive struct {
	w   *cpio.Writer
	err error
}

func (a *archive) addFile(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	a.add(&cpio.Header{Name: name, Mode: cpio.TypeReg | 0o755}, data)
}

func (a *archive) addLink(name, to string) {
	a.add(&cpio.Header{Name: name, Mode: cpio.TypeSymlink | 0o777}, []byte(to))
}

func (a *archive) add(h *cpio.Header, data []byte) {
	if a.err != nil {
		return
	}
	h.Size = int64(len(data))
	if a.err = a.w.WriteHeader(h); a.err == nil {
		_, a.err = a.w.Write(data)
	}
}
