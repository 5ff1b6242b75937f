package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// sleeper is the name under which this program only sleeps.
const sleeper = "sleeper"

// startSleepers starts sleeping processes, more than one.
func startSleepers(*options) error {
	for range 2 {
		if _, err := startExtra(sleeper); err != nil {
			return err
		}
	}
	return nil
}

// sleep never returns. A backtrace of the process shows the system call, not Go's scheduler.
func sleep() {
	for {
		_ = unix.Pause()
	}
}

// startCompat starts a 32-bit program, if the kernel runs such programs.
func startCompat(*options) error {
	_, err := startExtra("compat")
	if errors.Is(err, unix.ENOEXEC) {
		return nil
	}
	return err
}

// startExtra starts a process of /bin and ignores its output.
func startExtra(name string) (pid int, err error) {
	attributes := &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}}
	p, err := os.StartProcess(filepath.Join("/bin", name), []string{name}, attributes)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	return p.Pid, nil
}

// startCrowd starts a process with the configured number of threads, if any, and waits until they
// run.
func startCrowd(o *options) error {
	if o.threads == 0 {
		return nil
	}
	cmd := exec.Command("/bin/crowd", strconv.Itoa(o.threads))
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start crowd: %w", err)
	}
	if line, err := bufio.NewReader(pipe).ReadString('\n'); err != nil {
		return fmt.Errorf("crowd of %d: got %q: %w", o.threads, line, err)
	}
	return nil
}

// lastCPU returns the CPU that panics if it is not random. CPU 0 has other work.
func lastCPU() int { return runtime.NumCPU() - 1 }

// startSpinners starts user code on CPUs.
func startSpinners(o *options) error {
	for cpu := range runtime.NumCPU() {
		if !o.spins(cpu) {
			continue
		}
		pid, err := startExtra("spinner")
		if err != nil {
			return err
		}
		if err := pin(pid, cpu); err != nil {
			return err
		}
	}
	return nil
}

// spins reports whether a CPU must run user code at the panic.
func (o *options) spins(cpu int) bool {
	if cpu == lastCPU() {
		return o.panic == "irq-user"
	}
	return o.other == "user"
}

// pin pins a thread to a CPU.
func pin(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("keep thread %d on CPU %d: %w", tid, cpu, err)
	}
	return nil
}

// pinMyself pins this process to a CPU, including future threads.
func pinMyself(cpu int) error {
	tids, err := numbers("/proc/self/task")
	if err != nil {
		return err
	}
	for _, tid := range tids {
		if err := pin(tid, cpu); err != nil {
			return err
		}
	}
	return nil
}
