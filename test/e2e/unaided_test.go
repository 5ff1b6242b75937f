package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/session"
	"physgdb/test/verify"
)

// unaided serves a machine with only its RAM.
func (h *host) unaided(t testing.TB, args ...string) string {
	t.Helper()
	return serve(t, append([]string{h.guest.Source(), "--symbols", "ram"}, args...)...)
}

// withoutVmlinux checks every stack of a machine in a gdb without a file. The stack of the panic is
// compared with the kernel's Call Trace, all others with physgdb's own traces, which other tests
// compare with the kernel's.
func withoutVmlinux(t *testing.T, h *host) {
	const all = "thread apply all bt"
	steps := gdb(t, "", h.unaided(t), "set print frame-arguments none", "bt", all)
	if err := verify.GDBCallTrace(&h.guest.Facts, session.Find(steps, "bt")); err != nil {
		t.Error(err)
	}
	list := lines[verify.Trace](t, run(t, "bt", h.guest.Source(), "--symbols", "ram", "--json", "all").Stdout)
	if err := verify.GDBStacks(list, session.Find(steps, all)); err != nil {
		t.Error(err)
	}
}

// lldbWithoutVmlinux checks the stack of the panic, including modules, in an lldb that physgdb
// starts.
func lldbWithoutVmlinux(t *testing.T, h *host) {
	out := run(t, "gdb", "--lldb", h.guest.Source(), "--symbols", "ram", "--", "--no-lldbinit", "--batch", "-o", "bt").Stdout
	want := h.callTrace()
	for i, name := range want {
		want[i], _, _ = strings.Cut(name, " [")
	}
	var got []string
	_, bt, _ := strings.Cut(out, "(lldb) bt\n")
	for _, m := range lldbFunction.FindAllStringSubmatch(bt, -1) {
		got = append(got, m[1])
	}
	// In some boots lldb 14 stops at a cold part that ends in a call, where the return
	// address is after the function.
	if n := len(got); n > 0 && n < len(want) && strings.HasSuffix(got[n-1], ".cold") {
		t.Logf("lldb ends at %s", got[n-1])
		want = want[:n]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-log +lldb):\n%s\n%s", diff, bt)
	}
}

// lldbFunction is the kernel's function of a frame, except for those that represent what was saved
// where something was interrupted. lldb relocates per-CPU variables with the rest, to addresses of
// user programs.
var lldbFunction = regexp.MustCompile("(?m)^.* frame #\\d+: 0xffff\\S+ \\S+`([^\\s(\\[]+)")

// TestGDBWithoutFile reads machines through a bridge, with only their memory.
func TestGDBWithoutFile(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		facts := &h.guest.Facts
		kallsyms := facts.Kallsyms
		names := sampleSymbols(h, 40)
		want := map[string]string{
			"p init_task.comm":                     `"swapper/0\000`,
			"p &init_task":                         fmt.Sprintf("(struct task_struct *) %#x <init_task>", kallsyms["init_task"]),
			"p ((struct task_struct *)$task)->pid": fmt.Sprintf("= %d", facts.PanicPID),
			"p init_uts_ns.name.release":           `"` + facts.Release,
			"x/s linux_banner":                     fmt.Sprintf("%#x <linux_banner>:\t\"Linux version %s ", kallsyms["linux_banner"], facts.Release),
			"p sizeof(linux_banner) < 1024":        "= 1",
			"p (long)&kallsyms_names":              fmt.Sprintf("= %d", int64(h.linkAddress(t, "kallsyms_names")+facts.Slide)),
			"p (long)&kallsyms_offsets":            fmt.Sprintf("= %d", int64(h.linkAddress(t, "kallsyms_offsets")+facts.Slide)),
			"p (long)&kallsyms_markers":            fmt.Sprintf("= %d", int64(h.linkAddress(t, "kallsyms_markers")+facts.Slide)),
			"p sizeof(struct page)":                "= 64",
			"p modules":                            "{next = 0x",
			"ptype struct list_head":               "struct list_head *next;",
			"ptype struct file":                    "struct inode *f_inode;",
			"ptype vfs_read":                       "(struct file *, char *, size_t, loff_t *)",
			"p &runqueues":                         fmt.Sprintf("(struct rq *) %#x", h.linkAddress(t, "runqueues")),
			"info symbol virtnet_open":             "virtnet_open in section .text of target:/from-memory/virtio_net.ko",
			"ptype struct virtnet_info":            "struct virtio_device *vdev;",
			"info line vfs_read":                   "No line number information",
			"set var init_task.pid = 1":            "Cannot access memory",
		}
		commands := []string{fmt.Sprintf("set $task = %#x", h.panickedTask(t))}
		for command := range want {
			commands = append(commands, command)
		}
		for _, name := range names {
			commands = append(commands, fmt.Sprintf("info symbol %#x", kallsyms[name]))
		}
		steps := gdb(t, "", serve(t, adapter(t, h), "--symbols", "ram"), commands...)
		for command, want := range want {
			if out := session.Find(steps, command); !strings.Contains(out, want) {
				t.Errorf("%s: %q, want %q", command, out, want)
			}
		}
		for _, name := range names {
			out := session.Find(steps, fmt.Sprintf("info symbol %#x", kallsyms[name]))
			if !sameAddress(h, name, strings.Fields(out + " ?")[0]) || strings.Contains(out, " + ") {
				t.Errorf("%s at %#x: gdb prints %q", name, kallsyms[name], out)
			}
		}
	})
}

// linkAddress returns the link address of a symbol from the vmlinux, which physgdb does not have.
func (h *host) linkAddress(t *testing.T, name string) uint64 {
	t.Helper()
	s, ok := h.vmlinux.Lookup(name)
	if !ok {
		t.Fatalf("no %s", name)
	}
	return s.Addr
}

// panickedTask returns the address of the task_struct of the task that panicked.
func (h *host) panickedTask(t *testing.T) uint64 {
	t.Helper()
	dead := lines[struct{ Task string }](t, h.explain(t, "bt", "--json").Stdout)
	if len(dead) != 1 {
		t.Fatalf("%d tasks panicked", len(dead))
	}
	addr, err := strconv.ParseUint(strings.TrimPrefix(dead[0].Task, "0x"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// TestLLDBWithoutVmlinux gives lldb the file that physgdb makes from memory.
func TestLLDBWithoutVmlinux(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		file := filepath.Join(t.TempDir(), "vmlinux.synth")
		run(t, "symbols", h.guest.Source(), "-o", file)
		l := startLLDB(t, file, h.unaided(t))
		defer l.close()
		facts := &h.guest.Facts
		bt := l.says("bt")
		if diff := cmp.Diff(session.TrimTrace(facts.CallTrace), session.Trace(bt, h.vmlinux, h.slide(t))); diff != "" {
			t.Errorf("(-log +lldb):\n%s\n%s", diff, bt)
		}
		l.wants("image list -o", fmt.Sprintf("0x%016x", facts.Slide))
		l.wants("image lookup -t task_struct", "task_struct")
		l.wants("image lookup -t list_head", "byte-size = 16")
		l.wants("p init_task.comm", `"swapper/0`)
		l.wants("p sizeof(struct page)", "= 64")
		l.wants("x/s &linux_banner", "Linux version "+facts.Release)
		for _, name := range sampleSymbols(h, 10) {
			out := l.says(fmt.Sprintf("image lookup -a %#x", facts.Kallsyms[name]))
			if m := lookedUp.FindStringSubmatch(out); m == nil || !sameAddress(h, name, m[1]) {
				t.Errorf("%s at %#x: lldb prints %q", name, facts.Kallsyms[name], out)
			}
		}
		h.lldbFollowsAll(t, l.says("bt all"))
	})
}

// lldbFollowsAll checks that every stack reaches the first function of its task, or user space.
func (h *host) lldbFollowsAll(t *testing.T, out string) {
	t.Helper()
	list := lines[verify.Trace](t, run(t, "bt", h.guest.Source(), "--symbols", "ram", "--json", "all").Stdout)
	if err := verify.LLDBStacks(list, out); err != nil {
		t.Error(err)
	}
}

// TestVmlinuxFoundByBuildID puts a vmlinux at the path of Debian's packages.
func TestVmlinuxFoundByBuildID(t *testing.T) {
	h := hosts[0].ready(t)
	id := hex.EncodeToString(h.vmlinux.BuildID)
	dir := t.TempDir()
	place := filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug")
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(h.guest.Kernel.Vmlinux, place); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ symbols, want string }{
		{"auto", "from " + place + ", which was found by its build-id"},
		{"ram", "from the machine's own memory"},
		{h.guest.Kernel.Vmlinux, "whose build-id is that in memory"},
		{"none", "none: leave out --symbols none"},
	} {
		info := run(t, "info", h.guest.Source(), "--debug-dir", dir, "--symbols", tc.symbols).Stdout
		if got := row(t, info, "symbols"); !strings.Contains(got, tc.want) {
			t.Errorf("--symbols %s: %q, want %q", tc.symbols, got, tc.want)
		}
	}
	steps := gdb(t, "", serve(t, h.guest.Source(), "--debug-dir", dir), "info line vfs_read")
	if out := session.Find(steps, "info line vfs_read"); !strings.Contains(out, "fs/read_write.c") {
		t.Errorf("gdb was not given the vmlinux: %q", out)
	}
}

// TestCachedFileIsReused reads one machine three times: without a cached file, and with one, which
// is not used before build-ids are trusted. Then few reads are needed.
func TestCachedFileIsReused(t *testing.T) {
	h := hosts[3].ready(t)
	cost := func(args ...string) (bytes float64, took time.Duration) {
		r := run(t, append([]string{"info", adapter(t, h), "--symbols", "ram"}, args...)...)
		m := regexp.MustCompile(`batches, ([0-9.]+) (\S+);`).FindStringSubmatch(r.Stderr)
		if m == nil {
			t.Fatalf("the cost is not reported: %q", r.Stderr)
		}
		n, _ := strconv.ParseFloat(m[1], 64)
		return n * map[string]float64{"MiB": 1 << 20, "KiB": 1 << 10}[m[2]], r.Elapsed
	}
	// The values in VMCOREINFO check what was found without it.
	dir := t.TempDir()
	var made [2][]byte
	for i, args := range [][]string{nil, {"--notify", h.notices}} {
		file := filepath.Join(dir, strconv.Itoa(i))
		forgetKept(t)
		run(t, append([]string{"symbols", h.guest.Source(), "-o", file}, args...)...)
		var err error
		if made[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("kallsyms is not at the address in VMCOREINFO")
	}

	forgetKept(t)
	first, took := cost()
	run(t, "symbols", h.guest.Source(), "-o", filepath.Join(dir, "cached"))
	again, tookAgain := cost()
	trusting, tookTrusting := cost("--trust-build-id")
	t.Logf("%.0f bytes in %v, then %.0f in %v, %.0f in %v", first, took, again, tookAgain, trusting, tookTrusting)
	if first < 1<<20 || again < 1<<20 || trusting > 1<<20 {
		t.Errorf("%.0f bytes were read, then %.0f, and %.0f", first, again, trusting)
	}
}

// forgetKept removes the cached files of physgdb.
func forgetKept(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(filepath.Dir(string(physgdb)), "cache", "physgdb")); err != nil {
		t.Fatal(err)
	}
}

// TestMissingTables reads machines whose kernel has no, or a damaged, table: the rest still works,
// and what is missing is reported.
func TestMissingTables(t *testing.T) {
	h := hosts[3].ready(t)
	for _, tc := range []struct {
		name, table string
		row, want   string // of info
		symbols     bool   // info finds the kernel's symbols, and exits with 0
		bt          bool   // gdb shows the panic's stack
	}{
		{"types", "__start_BTF", "missing", "no types: BTF", true, true},
		{"frames", "__start_orc_unwind", "missing", "unwind tables: ", true, false},
		{"names", "kallsyms_token_table", "symbols", "none: kallsyms: no token table was found", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ram := h.without(t, tc.table)
			forgetKept(t)
			out, err := physgdb.Run(limited(t, time30s), "info", ram)
			if err != nil || (out.Status == 0) != tc.symbols {
				t.Errorf("info: status %d, %v\n%s", out.Status, err, out.Stderr)
			}
			if got := row(t, out.Stdout, tc.row); !strings.Contains(got, tc.want) {
				t.Errorf("%s is %q, want %q", tc.row, got, tc.want)
			}
			steps := gdb(t, "", serve(t, ram, "--notify", h.notices), "set print frame-arguments none", "bt", "p $cr3")
			if tc.bt {
				if err := verify.GDBCallTrace(&h.guest.Facts, session.Find(steps, "bt")); err != nil {
					t.Error(err)
				}
				out, err := physgdb.Run(limited(t, time30s), "bt", ram, "--notify", h.notices)
				if err != nil || !strings.Contains(out.Stdout, " panic+0x") || !strings.Contains(out.Stderr, "give --vmlinux FILE") {
					t.Errorf("bt: %v\n%s%s", err, out.Stdout, out.Stderr)
				}
			}
			if out := session.Find(steps, "p $cr3"); !strings.HasPrefix(out, "$1 = ") {
				t.Errorf("gdb did not connect: %q", out)
			}
		})
	}
}

// without copies a machine's RAM with zeros in place of the bytes at a symbol.
func (h *host) without(t *testing.T, symbol string) (source string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ram")
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", h.guest.RAMFile(), path).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := h.linkAddress(t, symbol) - h.linkAddress(t, "_text") + kernelCode(t, h.guest.Facts.IOMem)
	if _, err := f.WriteAt(make([]byte, 512<<10), int64(at)); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}
