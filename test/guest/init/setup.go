package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of QEMU's user network.
const (
	guestIP = "10.0.2.15"
	hostIP  = "10.0.2.2"
	hostMAC = "52:55:0a:00:02:02"
	device  = "eth0"
)

// setUp mounts the file systems.
func setUp() error {
	mounts := []struct{ kind, path string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	// The report contains kernel addresses.
	return os.WriteFile("/proc/sys/kernel/kptr_restrict", []byte("0"), 0)
}

// loadDrivers loads /drivers/*.ko, whose names sort in the order of loading.
func loadDrivers() error {
	files, err := filepath.Glob("/drivers/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		if err := load(file, ""); err != nil {
			return err
		}
	}
	return nil
}

const physgdb = "/physgdb.ko"

// target returns the parameter with which physgdb.ko sends notices to a port on the host.
func target(port string) string {
	return fmt.Sprintf("notify=6665@%s/%s,%s@%s/%s", guestIP, device, port, hostIP, hostMAC)
}

func load(file, parameters string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := restart(func() error { return unix.FinitModule(int(f.Fd()), parameters, 0) }); err != nil {
		return fmt.Errorf("load %s %s: %w", file, parameters, err)
	}
	return nil
}

// restart repeats a system call that was interrupted by a preemption signal of the Go runtime.
func restart(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// startNetwork sets the network card's address and waits for its link. A kernel without the
// card's driver has no network.
func startNetwork() error {
	if _, err := os.Stat("/sys/bus/virtio/drivers/virtio_net"); err != nil {
		return nil
	}
	carrier := filepath.Join("/sys/class/net", device, "carrier")
	if err := wait(device, func() bool { _, err := os.Stat(carrier); return err == nil }); err != nil {
		return err
	}
	if err := configure(); err != nil {
		return fmt.Errorf("configure %s: %w", device, err)
	}
	return wait(device+"'s link", func() bool {
		state, err := os.ReadFile(carrier)
		return err == nil && state[0] == '1'
	})
}

func configure() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	if err := request.SetInet4Addr([]byte{10, 0, 2, 15}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request); err != nil {
		return err
	}
	if err := request.SetInet4Addr([]byte{255, 255, 255, 0}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, request); err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// wait waits until done returns true.
func wait(what string, done func() bool) error {
	const maxWait, pause = 60 * time.Second, 20 * time.Millisecond
	for range maxWait / pause {
		if done() {
			return nil
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("no %s after %v", what, maxWait)
}
