package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"physgdb/test/session"
)

// TestActions types the commands for running programs, and checks that each is refused with a clear
// message, changes nothing, and returns to the prompt. gdb itself takes up to a second for some of
// them, and longer while other tests run.
func TestActions(t *testing.T) {
	const cannotRun = "This machine is dead (panicked: sysrq triggered crash; task init"
	onTwo(t, func(t *testing.T, h *host) {
		address := serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux)
		const check = "p/x nr_cpu_ids" // a word that nothing changes
		actions := []struct{ command, want string }{
			{"continue", cannotRun}, {"stepi", cannotRun}, {"nexti", cannotRun}, {"next", cannotRun}, {"step", cannotRun},
			{"until", cannotRun},
			{"finish", "Cannot insert breakpoint"},
			{"advance vfs_read", "Cannot insert breakpoint"},
			{"break vfs_read", "Breakpoint "},
			{"continue 1", "Cannot insert breakpoint"},
			{"delete", ""},
			{"set var nr_cpu_ids = 7", "Cannot access memory"},
			{"set var $rax = 7", "only reads"},
			{"call (int)vfs_read(0, 0, 0, 0)", "Cannot access memory"},
			{"jump vfs_read", "only reads"},
			{"return", "only reads"},
			{"run", "does not support"},
			{"reverse-continue", "does not support"},
			{"monitor nonsense", "try: monitor help"},
			{"monitor vtop linux_banner", "phys "},
			{"detach", "detached"},
			{"target remote " + address, "in panic ("},
			{"kill", "killed"},
			{"target remote " + address + " ", "in panic ("},
		}
		var commands []string
		for _, a := range actions {
			commands = append(commands, a.command, check)
		}
		// gdb reads the types of the kernel when it first needs one, which takes about ten seconds
		warm := []string{"p init_task.comm", "ptype vfs_read", "info line vfs_read", check}
		steps := gdb(t, h.guest.Kernel.Vmlinux, address, append(warm, commands...)...)
		steps = steps[len(steps)-len(commands)-1:]
		value := session.Value(steps[0].Output)
		if value == "" {
			t.Fatalf("%s: %q", check, steps[0].Output)
		}
		for i, a := range actions {
			did, after := steps[1+2*i], steps[2+2*i]
			if !strings.Contains(did.Output, a.want) {
				t.Errorf("%s: %q, want %q in it", a.command, did.Output, a.want)
			}
			if did.Took > 10*time.Second {
				t.Errorf("%s took %v", a.command, did.Took)
			}
			gone := a.command == "detach" || a.command == "kill"
			if got := session.Value(after.Output); got != value && !gone {
				t.Errorf("after %s: %q, want %s", a.command, after.Output, value)
			}
			t.Logf("%-36s %4d ms  %s", a.command, did.Took.Milliseconds(), strings.ReplaceAll(did.Output, "\n", " / "))
		}
	})
}

// TestUnreadableMemory reads unreadable addresses: gdb reports an error, and monitor vtop and
// physgdb vtop name the entry that ended the walk.
func TestUnreadableMemory(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		address := serve(t, adapter(t, h), "--notify", h.notices)
		device := deviceMapping(t, h)
		vtop := adapter(t, h) // one client at an address
		bad := []struct {
			name string
			va   uint64
			why  string
		}{
			{"unmapped", 0xffffffff00000000, "PDPT entry 508 (at phys "},
			{"non-canonical", 0x1000000000000000, "non-canonical address"},
			{"a device", device, "never read"},
		}
		var commands []string
		for _, b := range bad {
			commands = append(commands, fmt.Sprintf("x/gx %#x", b.va), fmt.Sprintf("monitor vtop %#x", b.va))
		}
		steps := gdb(t, "", address, commands...)
		for _, b := range bad {
			if out := session.Find(steps, fmt.Sprintf("x/gx %#x", b.va)); !strings.Contains(out, "Cannot access memory at address") {
				t.Errorf("%s: gdb prints %q", b.name, out)
			}
			if out := session.Find(steps, fmt.Sprintf("monitor vtop %#x", b.va)); !strings.Contains(out, b.why) {
				t.Errorf("%s: monitor vtop says %q, want %q in it", b.name, out, b.why)
			}
			r, err := physgdb.Run(limited(t, time30s), "vtop", vtop, "--notify", h.notices, fmt.Sprintf("%#x", b.va))
			if err != nil || !strings.Contains(r.Stdout, b.why) {
				t.Errorf("%s: physgdb vtop: %v\n%s%s", b.name, err, r.Stdout, r.Stderr)
			}
		}
	})
}

// deviceMapping finds a kernel mapping of a device.
func deviceMapping(t *testing.T, h *host) uint64 {
	t.Helper()
	all, _, _ := mappings(t, h.guest.Source(), "--notify", h.notices, "--kernel")
	for _, m := range all {
		if strings.Contains(m.Flags, "uncached") {
			return m.va()
		}
	}
	t.Fatal("the kernel maps no device")
	return 0
}
