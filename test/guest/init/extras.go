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

// sleeper is the name under which this program only waits, to be a process that is asleep.
const sleeper = "sleeper"

// startSleepers starts processes that do nothing, so that there is more than one to be found.
func startSleepers(*options) error {
	for range 2 {
		if _, err := startExtra(sleeper); err != nil {
			return err
		}
	}
	return nil
}

// sleep never returns. The system call, and not Go's scheduler, is what a backtrace of the process
// shows.
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

// startCrowd starts a process with as many threads as were asked for, if any, and waits until they
// are there.
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
		return fmt.Errorf("crowd of %d: it said %q: %w", o.threads, line, err)
	}
	return nil
}

// lastCPU is the one that panics if that is not left to chance. CPU 0 has enough to do.
func lastCPU() int { return runtime.NumCPU() - 1 }

// startSpinners fills CPUs with user code.
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

// spins says whether a CPU is to run user code when the end comes.
func (o *options) spins(cpu int) bool {
	if cpu == lastCPU() {
		return o.panic == "irq-user"
	}
	return o.other == "user"
}

// pin keeps a thread on one CPU.
func pin(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("keep thread %d on CPU %d: %w", tid, cpu, err)
	}
	return nil
}

// pinMyself keeps this process on one CPU, threads that it will make included.
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
