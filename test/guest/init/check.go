package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// checkModule checks that physgdb.ko can be loaded and unloaded with all parameters, and refuses
// wrong ones. The machine is the same afterwards.
func checkModule(port string) error {
	for _, step := range []func(string) error{refusals, loadBare, loadAgain, loseDevice} {
		if err := step(port); err != nil {
			return err
		}
	}
	return nil
}

// refusals checks parameters with one error each.
func refusals(string) error {
	for _, notify := range []string{
		"", "10.0.2.2", "@/,", "@/eth0,6666@/", "@/eth0,6666@10.0.2/", "@/eth0,6666@10.0.2.2.2/", "@/eth0,@10.0.2.2x/",
		"@/eth0,65536@10.0.2.2/", "@/eth0,0@10.0.2.2/", "@/eth0,-1@10.0.2.2/", "@/eth0,0x10@10.0.2.2/", "x@/eth0,@10.0.2.2/",
		"@10.0.2/eth0,@10.0.2.2/", "@/eth0,@10.0.2.2/52:55:0a:00:02", "@/eth0,@10.0.2.2/52:55:0a:00:02:02:03",
		"@/eth0,@10.0.2.2/52:55:0a:00:02:0g", "@/a-device-with-a-long-name,@10.0.2.2/", "@eth0,@10.0.2.2/",
		"@/eth0@10.0.2.2/", "@/eth0,10.0.2.2/", "@/eth0,@10.0.2.2/,",
	} {
		if err := load(physgdb, "notify="+notify); !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("notify=%q: got %v, expected %v", notify, err, unix.EINVAL)
		}
	}
	if err := load(physgdb, "notify=@/eth9,@10.0.2.2/"); !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("no such device: got %v, expected %v", err, unix.ENODEV)
	}
	if _, err := os.Stat("/proc/physgdb"); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("/proc/physgdb of a module that was refused: got %v, expected %v", err, os.ErrNotExist)
	}
	return nil
}

// loadBare loads it without a target, which creates the file in /proc as well.
func loadBare(string) error {
	if err := load(physgdb, ""); err != nil {
		return err
	}
	info, err := os.Stat("/proc/physgdb")
	if err != nil {
		return err
	}
	if info.Mode() != 0o400 {
		return fmt.Errorf("/proc/physgdb has mode %v, expected 0400", info.Mode())
	}
	line, err := os.ReadFile("/proc/physgdb")
	if err != nil {
		return err
	}
	if want := fmt.Sprintf(`"pid":%d,`, os.Getpid()); !strings.Contains(string(line), want) {
		return fmt.Errorf("/proc/physgdb says %q, expected %s in it", line, want)
	}
	return unload()
}

// loadAgain loads it with all defaults, without the MAC address of the target alone, and with
// everything given.
func loadAgain(port string) error {
	for _, notify := range []string{"notify=@/,@10.0.2.2/", "notify=@/eth0,@10.0.2.2", target(port)} {
		if err := load(physgdb, notify); err != nil {
			return err
		}
		if err := unload(); err != nil {
			return err
		}
	}
	return nil
}

// loseDevice removes the network card while the module uses it. It hangs if the module keeps a
// reference.
func loseDevice(port string) error {
	if err := load(physgdb, target(port)); err != nil {
		return err
	}
	link, err := os.Readlink(filepath.Join("/sys/class/net", device, "device"))
	if err != nil {
		return err
	}
	for _, action := range []string{"unbind", "bind"} {
		file := filepath.Join("/sys/bus/virtio/drivers/virtio_net", action)
		if err := os.WriteFile(file, []byte(filepath.Base(link)), 0); err != nil {
			return err
		}
	}
	if err := unload(); err != nil {
		return err
	}
	return startNetwork()
}

func unload() error {
	if err := restart(func() error { return unix.DeleteModule("physgdb", 0) }); err != nil {
		return fmt.Errorf("unload physgdb.ko: %w", err)
	}
	return nil
}
