package target

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
	"physgdb/test/rig"
)

func TestMapsAreThoseOfATaskThatThePathNames(t *testing.T) {
	list := crew()
	for name, want := range map[string]string{
		"/proc/143/maps": "nginx", "/proc/143/task/145/maps": "nginx", "/proc/145/maps": "nginx", "/proc/1/task/1/maps": "init",
		"/proc/143/task/144/maps": "", "/proc/7/maps": "", "/proc/9999999999/maps": "", "/proc/9999999999/task/1/maps": "",
	} {
		path := procMaps.FindStringSubmatch(name)
		if path == nil {
			t.Errorf("%s is not taken for a file of maps", name)
			continue
		}
		got := ""
		if task := taskOfPath(list, path[1], path[2]); task != nil {
			got = task.Comm
		}
		if got != want {
			t.Errorf("%s is of %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"/proc/0/maps", "/proc/self/maps", "/proc/1/maps/", "/proc/1/smaps", "/proc/-1/maps", "/proc/1/../2/maps",
		"/proc/99999999999/maps", "proc/1/maps", "/proc/1/task/maps", "/proc/1/maps\n"} {
		if procMaps.MatchString(name) {
			t.Errorf("%q is taken for a file of maps", name)
		}
	}
}

func TestMapsLines(t *testing.T) {
	var got strings.Builder
	writeMaps(&got, regionList{
		{First: 0x400000, Last: 0x4e4fff, Mapped: true, Read: true, Execute: true},
		{First: 0x7ffca2ef6000, Last: 0x7ffca2ef9fff, Mapped: true, Read: true, Write: true},
	})
	const want = "00400000-004e5000 r-xp 00000000 00:00 0\n7ffca2ef6000-7ffca2efa000 rw-p 00000000 00:00 0\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestMapsOfAMachineWithoutSymbolsSayWhy(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	f, err := s.OpenFile(ctx, "/proc/1/maps")
	rig.WantError(t, err, "--vmlinux")
	if errors.Is(err, fs.ErrNotExist) || f != nil {
		t.Error("gdb would take it for a process that is not there")
	}
}

// crew is some tasks of a machine, by pid.
func crew() *linux.TaskList {
	return &linux.TaskList{All: []*linux.Task{
		{Addr: 0xffff888003a40000, PID: 1, TGID: 1, Comm: "init", State: linux.Interruptible, CPU: 1},
		{Addr: 0xffff888003a41000, PID: 2, TGID: 2, Comm: "kthreadd", State: linux.Interruptible, Kernel: true},
		{Addr: 0xffff888003a42000, PID: 9, TGID: 9, Parent: 2, Comm: "kworker/0:1", State: 0x402, Kernel: true},
		{Addr: 0xffff888003a43000, PID: 143, TGID: 143, Parent: 1, Comm: "nginx", State: linux.Uninterruptible},
		{Addr: 0xffff888003a44000, PID: 144, TGID: 144, Parent: 1, Comm: "evil\x1b[2J", CPU: 1},
		{Addr: 0xffff888003a45000, PID: 145, TGID: 143, Parent: 1, Comm: "nginx"},
		{Addr: 0xffffffff82a10000, Comm: "swapper/0", Kernel: true, Idle: true},
	}}
}
