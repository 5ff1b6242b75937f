package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// capturesDump reports whether this kernel was started by the panic of another, whose memory it
// then provides (Documentation/admin-guide/kdump/kdump.rst).
func capturesDump() bool {
	_, err := os.Stat("/proc/vmcore")
	return err == nil
}

// loadSecond loads the kernel that this one starts when it panics or reboots.
func loadSecond(o *options) error {
	flags := map[string]int{"kdump": unix.KEXEC_FILE_ON_CRASH, "kexec": 0}
	flag, ok := flags[o.panic]
	if !ok {
		return nil
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	kernel, err := os.Open("/kexec/vmlinuz")
	if err != nil {
		return err
	}
	defer kernel.Close()
	initramfs, err := os.Open("/kexec/initramfs")
	if err != nil {
		return err
	}
	defer initramfs.Close()
	cmdline := secondCmdline(string(text))
	if o.panic == "kdump" {
		cmdline += " reset_devices nr_cpus=1"
	}
	err = restart(func() error {
		return unix.KexecFileLoad(int(kernel.Fd()), int(initramfs.Fd()), cmdline, flag)
	})
	if err != nil {
		return fmt.Errorf("kexec_file_load: %w", err)
	}
	return nil
}

// secondCmdline returns the command line of the second kernel: that of the first, without the
// option to start another one.
func secondCmdline(first string) string {
	var words []string
	for word := range strings.FieldsSeq(first) {
		switch key, _, _ := strings.Cut(word, "="); key {
		case "crashkernel":
		case "physgdb.panic":
			words = append(words, "physgdb.panic=none")
		default:
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}
