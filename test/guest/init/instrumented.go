package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// instrumented is the module whose functions are probed and patched; its source is
// test/guest/instrumented.
const instrumented = "/instrumented.ko"

const tracefs = "/sys/kernel/tracing"

// instruments returns the values of physgdb.instrument: features that change the stacks after a
// panic.
func instruments() map[string]func() error {
	return map[string]func() error{
		"graph":     traceGraph,
		"kretprobe": probeReturns,
		"fexit":     traceExits,
		"sleepable": sleepInBPF,
		"module":    loadInstrumented,
	}
}

func (o *options) validateInstruments() error {
	for _, name := range o.instrument {
		if instruments()[name] == nil {
			return fmt.Errorf("physgdb.instrument=%s: known are fexit, graph, kretprobe, module, sleepable", name)
		}
	}
	if (o.panic == "kprobe" || o.panic == "livepatch") && !slices.Contains(o.instrument, "module") {
		return fmt.Errorf("physgdb.panic=%s needs physgdb.instrument=module", o.panic)
	}
	return nil
}

// instrument sets up the configured features, before sleeping processes are started.
func instrument(o *options) error {
	for _, name := range o.instrument {
		if err := instruments()[name](); err != nil {
			return fmt.Errorf("physgdb.instrument=%s: %w", name, err)
		}
	}
	return nil
}

func mountTracefs() error {
	if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil && err != unix.EBUSY {
		return fmt.Errorf("mount %s: %w", tracefs, err)
	}
	return nil
}

// traced are the functions for the function_graph tracer: those on the stacks of sleeping tasks and
// of sysrq's panic. With all of the kernel's, the machine would be too slow for its clock.
const traced = "*sys_* vfs_* futex* do_futex schedule schedule_* proc_reg_* write_sysrq_trigger __handle_sysrq " +
	"sysrq_handle_crash kthread worker_thread do_nanosleep hrtimer_nanosleep do_epoll_wait ep_poll khugepaged kswapd"

// traceGraph enables the function_graph tracer.
func traceGraph() error {
	if err := mountTracefs(); err != nil {
		return err
	}
	for pattern := range strings.FieldsSeq(traced) {
		f, err := os.OpenFile(tracefs+"/set_ftrace_filter", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(pattern + "\n")
		if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: there is no such function
			return fmt.Errorf("trace %s: %w", pattern, err)
		}
	}
	return write(tracefs+"/current_tracer", "function_graph")
}

// probeReturns sets kretprobes on the system call in which sleepers wait, and on two functions on
// the stack of sysrq's panic.
func probeReturns() error {
	if err := mountTracefs(); err != nil {
		return err
	}
	for _, function := range []string{"__x64_sys_pause", "vfs_write", "ksys_write"} {
		f, err := os.OpenFile(tracefs+"/kprobe_events", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "r:physgdb/%s %s\n", function, function)
		f.Close()
		if err != nil {
			return fmt.Errorf("kretprobe on %s: %w", function, err)
		}
	}
	return write(tracefs+"/events/physgdb/enable", "1")
}

// loadInstrumented loads the module and waits until its live patch is in force.
func loadInstrumented() error {
	if err := load(instrumented, ""); err != nil {
		return err
	}
	const transition = "/sys/kernel/livepatch/instrumented/transition"
	if _, err := os.Stat(transition); err != nil {
		return nil // a kernel without live patches
	}
	return wait("live patch in force", func() bool {
		text, err := os.ReadFile(transition)
		return err == nil && strings.TrimSpace(string(text)) == "0"
	})
}

// callProbed calls the function whose kprobe panics.
func callProbed() error { return write("/proc/instrumented", "x") }

// readVersion calls version_proc_show, which the live patch replaced by a function that panics.
func readVersion() error {
	_, err := os.ReadFile("/proc/version")
	return err
}

// startFaulter starts a process that opens a file on request, and whose page faults at faultAddr
// never end.
func startFaulter() (pid int, open func() error, err error) {
	said, words, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	orders, order, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	p, err := os.StartProcess("/bin/faulter", []string{"faulter"}, &os.ProcAttr{Files: []*os.File{orders, words, os.Stderr}})
	if err != nil {
		return 0, nil, fmt.Errorf("start faulter: %w", err)
	}
	words.Close()
	orders.Close()
	if _, err := io.ReadFull(said, make([]byte, len("ready\n"))); err != nil {
		return 0, nil, fmt.Errorf("faulter is not ready: %w", err)
	}
	return p.Pid, func() error { _, err := order.WriteString("x"); return err }, nil
}

// awaitStack waits until a process sleeps in a function.
func awaitStack(pid int, function string) error {
	return wait(fmt.Sprintf("process %d in %s", pid, function), func() bool {
		stack, err := os.ReadFile(fmt.Sprintf("/proc/%d/stack", pid))
		return err == nil && strings.Contains(string(stack), function+"+")
	})
}
