package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/session"
)

// TestFilesOfTheMachine fetches the machine's files with gdb and compares them with those that the
// machine reported.
func TestFilesOfTheMachine(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		dir := t.TempDir()
		var commands []string
		for _, name := range []string{"/proc/cmdline", "/proc/iomem", "/proc/kallsyms", "/proc/modules", "/proc/version", "/dmesg"} {
			commands = append(commands, fmt.Sprintf("remote get %s %s", name, filepath.Join(dir, filepath.Base(name))))
		}
		gdb(t, "", serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux), commands...)
		facts := h.guest.Facts
		fetched := func(name string) string {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			return string(content)
		}
		for name, want := range map[string]string{
			"cmdline": facts.Cmdline + "\n", "iomem": facts.IOMem, "modules": facts.Modules,
		} {
			if diff := cmp.Diff(want, fetched(name)); diff != "" {
				t.Errorf("%s (-the machine's +fetched):\n%s", name, diff)
			}
		}
		version := strings.TrimSpace(fetched("version"))
		log := h.log(t)
		if version == "" || !strings.Contains(log, version) || !strings.HasPrefix(version, "Linux version "+facts.Release+" ") {
			t.Errorf("the version is %q", version)
		}
		if dmesg := fetched("dmesg"); !strings.Contains(dmesg, version) || !strings.Contains(dmesg, "Kernel panic - not syncing") {
			t.Errorf("the log is\n%s", dmesg)
		}
		h.checkKallsyms(t, fetched("kallsyms"))
	})
}

// checkKallsyms compares a fetched /proc/kallsyms with the one that the guest printed.
func (h *host) checkKallsyms(t *testing.T, text string) {
	t.Helper()
	line := regexp.MustCompile(`^[0-9a-f]{16} [Atrdb] \S+(\t\[\w+\])?\n$`)
	addrs := map[string][]uint64{}
	modules := map[string]int{}
	for l := range strings.Lines(text) {
		if !line.MatchString(l) {
			t.Fatalf("a line is %q", l)
		}
		fields := strings.Fields(l)
		addr, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(fields) == 4 {
			modules[strings.Trim(fields[3], "[]")]++
			continue
		}
		addrs[fields[2]] = append(addrs[fields[2]], addr)
	}
	for name, want := range h.guest.Facts.Kallsyms {
		if got := addrs[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is at %#x, want %#x", name, got, want)
		}
	}
	for l := range strings.Lines(h.guest.Facts.Modules) {
		if name, _, _ := strings.Cut(l, " "); modules[name] == 0 {
			t.Errorf("there are no symbols of module %s", name)
		}
	}
}

// TestPhysicalMode compares physical memory in gdb with that in QEMU.
func TestPhysicalMode(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		banner := h.guest.Facts.Kallsyms["linux_banner"]
		pa := h.gva2gpa(t, banner)
		address := serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux)
		physical, virtual := fmt.Sprintf("x/s %#x", pa), fmt.Sprintf("x/s %#x", banner)
		steps := gdb(t, "", address, physical, "maint packet Qqemu.PhyMemMode:1", "maint flush dcache", physical,
			fmt.Sprintf("x/2xg %#x", pa+16), "x/xg 0xa0000", "x/xg 0xfee00000", "monitor info", "monitor phys off",
			"maint flush dcache", virtual)
		const want = `"Linux version `
		if !strings.Contains(steps[4].Output, want) || strings.Contains(steps[1].Output, want) ||
			!strings.Contains(session.Find(steps, virtual), want) {
			t.Errorf("the mode is unchanged:\n%s", session.Transcript(steps))
		}
		out, err := h.guest.HMP(limited(t, time30s), fmt.Sprintf("xp /2gx %#x", pa+16))
		if err != nil {
			t.Fatal(err)
		}
		words := regexp.MustCompile(`0x[0-9a-f]{16}`)
		got := words.FindAllString(session.Find(steps, fmt.Sprintf("x/2xg %#x", pa+16)), -1)
		if diff := cmp.Diff(words.FindAllString(out, -1), got); diff != "" || len(got) != 2 {
			t.Errorf("(-QEMU +gdb):\n%s", diff)
		}
		for _, command := range []string{"x/xg 0xa0000", "x/xg 0xfee00000"} {
			if out := session.Find(steps, command); !strings.Contains(out, "Cannot access memory") {
				t.Errorf("%s: memory outside of RAM is shown: %q", command, out)
			}
		}
		if out := session.Find(steps, "monitor info"); !strings.Contains(out, "Addresses are physical") {
			t.Errorf("monitor info does not show it:\n%s", out)
		}
	})
}

// TestRegions compares the regions that the stub reports to lldb for the kernel's half with QEMU's
// walk of the tables.
func TestRegions(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		if h.config.LA57 {
			t.Skip("QEMU's info mem takes minutes over five levels of tables")
		}
		out, err := h.guest.HMP(limited(t, time30s), "info mem")
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^([89a-f][0-9a-f]{15})-([0-9a-f]{16}) [0-9a-f]{16} [-u]r([-w])`)
		ranges := line.FindAllStringSubmatch(out, -1)
		if len(ranges) < 50 {
			t.Fatalf("QEMU shows %d ranges", len(ranges))
		}
		rng := rand.New(rand.NewPCG(uint64(len(ranges)), 2))
		rng.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
		ranges = ranges[:50]
		ask := func(addr uint64) string { return fmt.Sprintf("maint packet qMemoryRegionInfo:%x", addr) }
		var commands []string
		for _, r := range ranges {
			first, end := number("0x"+r[1]), number("0x"+r[2])
			commands = append(commands, ask(first), ask(end-1))
		}
		text := h.guest.Facts.Kallsyms["vfs_read"]
		commands = append(commands, ask(text), ask(0x7fff00000000000), ask(^uint64(0)))
		steps := gdb(t, "", serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux), commands...)
		for i, r := range ranges {
			first, last := parseRegion(t, steps[1+2*i].Output), parseRegion(t, steps[2+2*i].Output)
			if first.start != number("0x"+r[1]) || last.start+last.size != number("0x"+r[2]) {
				t.Errorf("QEMU has %s-%s, and lldb would see\n%+v\n%+v", r[1], r[2], first, last)
			}
			for _, reg := range []region{first, last} {
				if strings.Contains(reg.rights, "w") != (r[3] == "w") || !strings.HasPrefix(reg.rights, "r") {
					t.Errorf("QEMU has %s-%s with %s, and lldb would see %+v", r[1], r[2], r[3], reg)
				}
			}
		}
		if got := parseRegion(t, session.Find(steps, ask(text))); got.rights != "rx" || got.name != fmt.Sprintf("%x", "kernel .text") {
			t.Errorf("vfs_read is in %+v", got)
		}
		if got := parseRegion(t, session.Find(steps, ask(0x7fff00000000000))); got.rights != "" || got.size == 0 {
			t.Errorf("a hole is reported as %+v", got)
		}
		if got := parseRegion(t, session.Find(steps, ask(^uint64(0)))); got.start+got.size != ^uint64(0) {
			t.Errorf("the last region is reported as %+v", got)
		}
	})
}

// region is an answer to qMemoryRegionInfo.
type region struct {
	start, size  uint64
	rights, name string
}

func parseRegion(t *testing.T, output string) (r region) {
	t.Helper()
	m := regexp.MustCompile(`received: "start:([0-9a-f]+);size:([0-9a-f]+);(permissions:([rwx]*);)?(name:([0-9a-f]+);)?"`).
		FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("not a region: %s", output)
	}
	return region{number("0x" + m[1]), number("0x" + m[2]), m[4], m[6]}
}
