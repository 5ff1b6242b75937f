package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Files in a guest's directory.
const (
	ramFile     = "ram"
	serialFile  = "serial.log"
	witnessFile = "witness.jsonl"
	shelfFile   = "shelf" // memory that the guest shares with the host
	qemuLog     = "qemu.log"
	qmpSocket   = "qmp" // for other programs: a socket takes one client at a time
	rigSocket   = "rig" // for this package
)

const qemu = "qemu-system-x86_64"

// startQEMU starts the machine and connects to its monitor. It runs until Close.
func (g *Guest) startQEMU(ctx context.Context, port int) error {
	for _, name := range []string{serialFile, witnessFile} {
		if err := os.WriteFile(g.path(name), nil, 0o644); err != nil {
			return fmt.Errorf("make the guest's log: %w", err)
		}
	}
	log, err := os.Create(g.path(qemuLog))
	if err != nil {
		return fmt.Errorf("make QEMU's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(qemu, g.qemuArgs(port)...)
	// Unix socket names are short, so QEMU gets one relative to its own directory.
	cmd.Dir, cmd.Stdout, cmd.Stderr = g.dir, log, log
	// The guest ends with a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w; test/guest/setup.sh installs it", err)
	}
	g.qemu, g.qemuExited = cmd.Process, make(chan struct{})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		defer close(g.qemuExited)
		cancel(fmt.Errorf("QEMU has ended: %w", exitError(cmd.Wait())))
	}()
	g.monitor, err = dialMonitor(ctx, g.path(rigSocket))
	return err
}

// qemuArgs returns the arguments of QEMU. Each CPU is a socket of its own: the BIOS lists one CPU
// of a socket in its MP table, which a kernel without ACPI reads.
func (g *Guest) qemuArgs(port int) []string {
	c := g.config
	size := strconv.Itoa(c.MemoryMiB) + "M"
	cpu := "max"
	if !c.LA57 {
		cpu += ",la57=off"
	}
	args := append(c.memoryArgs(),
		"-m", size, "-cpu", cpu, "-smp", fmt.Sprintf("%d,sockets=%[1]d", c.CPUs),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-qmp", "unix:"+qmpSocket+",server=on,wait=off", "-qmp", "unix:"+rigSocket+",server=on,wait=off",
		"-serial", "file:"+serialFile, "-serial", "file:"+witnessFile,
		"-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-kernel", g.Kernel.Vmlinuz, "-initrd", "initramfs", "-append", g.cmdline(port))
	if c.Full {
		args = append(args, "-object", "memory-backend-file,id=s,share=on,size=32M,mem-path="+shelfFile,
			"-device", "ivshmem-plain,memdev=s")
	}
	return args
}

// memoryArgs returns the arguments for RAM in a file, or in one for each NUMA node.
func (c *Config) memoryArgs() []string {
	if c.Nodes == 0 {
		return []string{"-machine", "q35,accel=tcg,memory-backend=m", "-object", memoryFile("m", c.MemoryMiB, ramFile)}
	}
	args := []string{"-machine", "q35,accel=tcg"}
	for i := range c.Nodes {
		id := fmt.Sprintf("m%d", i)
		first, last := i*c.CPUs/c.Nodes, (i+1)*c.CPUs/c.Nodes-1
		args = append(args, "-object", memoryFile(id, c.MemoryMiB/c.Nodes, nodeFile(i)),
			"-numa", fmt.Sprintf("node,nodeid=%d,memdev=%s,cpus=%d-%d", i, id, first, last))
	}
	return args
}

// nodeFile returns the name of the file with the RAM of a NUMA node.
func nodeFile(node int) string { return fmt.Sprintf("%s%d", ramFile, node) }

func memoryFile(id string, mib int, file string) string {
	return fmt.Sprintf("memory-backend-file,id=%s,share=on,size=%dM,mem-path=%s", id, mib, file)
}

func (g *Guest) cmdline(port int) string {
	words := []string{
		"console=ttyS0", "ignore_loglevel", "panic=0",
		// On a busy computer, the ticks that the kernel counts at its start may come too late:
		// "IO-APIC + timer doesn't work!"
		"no_timer_check",
		"physgdb.port=" + strconv.Itoa(port), "physgdb.panic=" + g.config.Panic, "physgdb.other=" + g.config.Other,
		"physgdb.threads=" + strconv.Itoa(g.config.Threads), "physgdb.modules=" + strconv.Itoa(g.config.Modules),
	}
	if len(g.config.Instrument) > 0 {
		words = append(words, "physgdb.instrument="+strings.Join(g.config.Instrument, ","))
	}
	if g.config.PTI {
		words = append(words, "pti=on")
	} else {
		words = append(words, "nopti")
	}
	if g.config.Panic == "kdump" {
		words = append(words, "crashkernel=192M")
	}
	if g.config.Cmdline != "" {
		words = append(words, g.config.Cmdline)
	}
	return strings.Join(words, " ")
}

// exitError returns an error for every end of a process.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
