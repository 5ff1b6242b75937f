package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const trouble = "/trouble.ko"

// way is a way to panic. It must not start before the witness has reported everything.
type way struct {
	// needsTrouble is true if trouble.ko panics.
	needsTrouble bool
	// bring causes the panic. If it returns without an error, the panic follows by itself.
	bring func() error
}

// ways returns all of them, except "none".
func ways() map[string]way {
	return map[string]way{
		"sysrq":     {bring: func() error { return write("/proc/sysrq-trigger", "c") }},
		"exit":      {bring: func() error { os.Exit(0); return nil }}, // "Attempted to kill init!"
		"oops":      {needsTrouble: true, bring: func() error { return oops("oops") }},
		"wild":      {needsTrouble: true, bring: func() error { return oops("wild") }},
		"wild-far":  {needsTrouble: true, bring: func() error { return oops("wild-far") }},
		"wild-data": {needsTrouble: true, bring: func() error { return oops("wild-data") }},
		"bug":       {needsTrouble: true, bring: func() error { return oops("bug") }},
		"kdump":     {bring: func() error { return write("/proc/sysrq-trigger", "c") }},
		"kexec":     {bring: func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC) }},
		"hung":      {needsTrouble: true, bring: reportHung},
		"irq":       {needsTrouble: true, bring: func() error { return write("/proc/trouble", "irq") }},
		"irq-user":  {needsTrouble: true, bring: func() error { return write("/proc/trouble", "irq-user") }},
		"chain":     {bring: callDummies},
		"nmi":       {needsTrouble: true, bring: func() error { return write("/proc/trouble", "nmi") }},
		"kprobe":    {bring: callProbed},
		"livepatch": {bring: readVersion},
	}
}

func oops(name string) error {
	if err := write("/proc/sys/kernel/panic_on_oops", "1"); err != nil {
		return err
	}
	return write("/proc/trouble", name)
}

// reportHung configures khungtaskd to look for hung tasks every second, and to panic when it finds
// one.
func reportHung() error {
	if err := write("/proc/sys/kernel/hung_task_panic", "1"); err != nil {
		return err
	}
	return write("/proc/sys/kernel/hung_task_timeout_secs", "1")
}

// prepareTrouble loads the module and makes the preparations that take time.
func prepareTrouble(o *options) error {
	if !ways()[o.panic].needsTrouble {
		return nil
	}
	if err := load(trouble, ""); err != nil {
		return err
	}
	if o.panic != "hung" {
		return nil
	}
	// By default, khungtaskd looks for hung tasks every two minutes.
	_, err := startExtra("stuck")
	return err
}

// takePlaces makes the last CPU panic and the others run the configured work.
func takePlaces(o *options) error {
	if !ways()[o.panic].needsTrouble && o.other == "idle" {
		return nil
	}
	if err := pinMyself(lastCPU()); err != nil {
		return err
	}
	if o.panic == "hung" {
		if err := pinNamed("khungtaskd", lastCPU()); err != nil {
			return err
		}
	}
	return startSpinners(o)
}

// pinNamed pins the thread of a name to a CPU.
func pinNamed(comm string, cpu int) error {
	threads, err := listThreads()
	if err != nil {
		return err
	}
	for _, t := range threads {
		if t.Comm == comm {
			return pin(t.TID, cpu)
		}
	}
	return fmt.Errorf("no thread %s", comm)
}

// die makes the kernel panic. It returns only if that fails.
func die(how string) error {
	if err := ways()[how].bring(); err != nil {
		return err
	}
	const maxWait = time.Minute
	time.Sleep(maxWait)
	return fmt.Errorf("the kernel has not panicked in %v", maxWait)
}

func write(file, text string) error { return os.WriteFile(file, []byte(text), 0) }
