package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func TestGuestDies(t *testing.T) {
	if testing.Short() {
		t.Skip("boots kernels")
	}
	for _, c := range []Config{
		{Release: "5.10", Cmdline: "physgdb.check=module", NoDebug: true}, // its debug package is not always in the archive
		{Release: "6.1", Cmdline: "physgdb.check=module"},
		{Release: "6.12", LA57: true, PTI: true},
		{Release: Newest, Cmdline: "physgdb.check=module", LA57: true, PTI: true},
	} {
		t.Run(c.Release, func(t *testing.T) {
			// The host name needs every kind of JSON escape.
			c.Cmdline += " physgdb.host=de%22ad%5chost%0a%ff"
			v := boot(t, c)
			t.Run("facts", v.testFacts)
			t.Run("kallsyms fits vmlinux", v.testKallsyms)
			t.Run("RAM file is physical memory", v.testRAM)
			t.Run("hello", v.testHello)
			t.Run("clock", v.testClock)
			t.Run("panic notice", func(t *testing.T) { v.testPanicNotice(t, "de\"ad\\host\n\u00ff") })
		})
	}
}

func TestGuestInitExits(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	v := boot(t, Config{Release: "6.12", Panic: "exit", CPUs: 1})
	var n notice
	v.decode(t, v.Notices("panic")[0], &n)
	if want := "Attempted to kill init! exitcode=0x00000000"; n.Message != want {
		t.Errorf("message %q, want %q", n.Message, want)
	}
}

func TestGuestLives(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	v := boot(t, Config{Release: "6.12", Panic: "none", Threads: 3})
	v.testThreads(t, map[string]int{"init": 1, "clock": 1, "crowd": 1})
	v.testCrowd(t)
	if notices := v.Notices("panic"); len(notices) != 0 {
		t.Errorf("panic notices of a running guest: %q", notices)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		now, err := v.Clock()
		if err != nil {
			t.Fatal(err)
		}
		if now > v.Facts.LastClock {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the clock does not advance")
		}
	}
}

func TestBootErrors(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	_, err := Boot(t.Context(), Config{Release: "6.12", Panic: "laughing", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "physgdb.panic=laughing: known are bug, chain, exit") {
		t.Errorf("got error %v, want one that names the wrong option", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = Boot(ctx, Config{Release: "6.12"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
}

// deadGuest is a guest under test and the symbols of its kernel.
type deadGuest struct {
	*Guest
	symbols map[string]elf.Symbol // those with a unique name; none without a vmlinux
	slide   uint64
}

func boot(t *testing.T, c Config) *deadGuest {
	t.Helper()
	c.Dir = t.TempDir()
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: t.Output()})
	g, err := Boot(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	v := &deadGuest{Guest: g, slide: g.Facts.Slide}
	if g.Kernel.Vmlinux == "" {
		t.Log("no debug package: comparisons with vmlinux are skipped")
		return v
	}
	v.symbols = symbols(t, g.Kernel.Vmlinux)
	v.slide = g.Facts.Kallsyms["_text"] - v.symbols["_text"].Value
	return v
}

func symbols(t *testing.T, file string) map[string]elf.Symbol {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	unique := map[string]elf.Symbol{}
	count := map[string]int{}
	for _, s := range all {
		unique[s.Name] = s
		count[s.Name]++
	}
	for name, n := range count {
		if n > 1 {
			delete(unique, name)
		}
	}
	return unique
}

func (v *deadGuest) testFacts(t *testing.T) {
	f := &v.Facts
	if f.Release != v.Kernel.Release {
		t.Errorf("release %q, want %q", f.Release, v.Kernel.Release)
	}
	for _, part := range []string{"System RAM", "Kernel code"} {
		if !regexp.MustCompile(`(?m)^ *[0-9a-f]*[1-9a-f][0-9a-f]*-[0-9a-f]+ : ` + part).MatchString(f.IOMem) {
			t.Errorf("no %s with an address in iomem:\n%s", part, f.IOMem)
		}
	}
	if !strings.Contains(f.ClockMaps, "/bin/clock\n") {
		t.Errorf("no /bin/clock in the clock's maps:\n%s", f.ClockMaps)
	}
	if f.CPUs != 2 {
		t.Errorf("%d CPUs, want 2", f.CPUs)
	}
	if age := time.Since(time.Unix(f.LastClock, 0)); age < 0 || age > 10*time.Minute {
		t.Errorf("the clock's last time is %v ago", age)
	}
	v.testThreads(t, map[string]int{"init": 1, "clock": 1, "sleeper": 2, "kthreadd": 1})
	v.testDeath(t, "init", "sysrq triggered crash", []string{
		"panic", "sysrq_handle_crash", "write_sysrq_trigger", "vfs_write", "entry_SYSCALL_64_after_hwframe",
	})
	v.testModule(t, "physgdb", v.Kernel.Module)
	m0 := symbols(t, v.ClockELF())["runtime.m0"]
	if f.ClockFSBase < m0.Value || f.ClockFSBase >= m0.Value+m0.Size {
		t.Errorf("the clock's FS base %#x is not in Go's first thread, %#x to %#x", f.ClockFSBase, m0.Value, m0.Value+m0.Size)
	}
}

// testThreads checks the number of processes of each name.
func (v *deadGuest) testThreads(t *testing.T, want map[string]int) {
	count := map[string]int{}
	for _, thread := range v.Facts.Threads {
		if thread.TID == thread.PID {
			count[thread.Comm]++
		}
		if thread.Comm == "" || len(thread.Comm) > 15 || thread.State == "" {
			t.Errorf("%+v is not a thread", thread)
		}
		if thread.TID != 1 && thread.Kernel != (thread.TID == 2 || thread.PPID == 2) {
			t.Errorf("%+v: threads of the kernel are children of kthreadd", thread)
		}
	}
	for comm, n := range want {
		if count[comm] != n {
			t.Errorf("%d processes %s, want %d", count[comm], comm, n)
		}
	}
}

// testDeath compares the panic in the log with the configured one, and with the module's notice.
func (v *deadGuest) testDeath(t *testing.T, comm, message string, trace []string) {
	d := &v.Facts.Death
	if d.PanicComm != comm || d.PanicMessage != message {
		t.Errorf("task %s panicked with %q, want %s with %q", d.PanicComm, d.PanicMessage, comm, message)
	}
	if d.Slide != v.slide {
		t.Errorf("slide %#x, want %#x", d.Slide, v.slide)
	}
	if d.Taint != "G           OE" {
		t.Errorf("taint %q, want that of an unsigned module from outside", d.Taint)
	}
	if d.Uptime < time.Second || d.Uptime > maxRun {
		t.Errorf("uptime %v", d.Uptime)
	}
	wantSequence(t, d.CallTrace, trace)
	notices := v.Notices("panic")
	if len(notices) == 0 {
		t.Fatal("no notice")
	}
	var n notice
	v.decode(t, notices[0], &n)
	if n.CPU != d.PanicCPU || n.PID != d.PanicPID || n.Comm != comm || n.Message != message {
		t.Errorf("notice of CPU %d, process %d (%s): %q; the log says %+v", n.CPU, n.PID, n.Comm, n.Message, d)
	}
}

// wantSequence checks for functions in this order, possibly with others between them. Compilers
// move parts of some into another function, name.cold.
func wantSequence(t *testing.T, trace, want []string) {
	t.Helper()
	rest := trace
	for _, name := range want {
		i := slices.IndexFunc(rest, func(f string) bool { return strings.TrimSuffix(f, ".cold") == name })
		if i < 0 {
			t.Errorf("trace %q has no %s in this order", trace, name)
			return
		}
		rest = rest[i+1:]
	}
}

// testModule compares the guest's report of a module with its file and with memory.
func (v *deadGuest) testModule(t *testing.T, name, file string) {
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	note, err := f.Section(".note.gnu.build-id").Data()
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Facts.ModuleBuildIDs[name]; got == "" || !strings.HasSuffix(fmt.Sprintf("%x", note), got) {
		t.Errorf("build id of %s is %q, the note in its file %x", name, got, note)
	}
	// The note is not relocated.
	address := v.Facts.ModuleSections[name][".note.gnu.build-id"]
	if got := v.read(t, address, len(note)); !bytes.Equal(got, note) {
		t.Errorf("at %#x, the build id of %s, memory holds %x, want %x", address, name, got, note)
	}
}

// read reads kernel memory, translated by QEMU, within a page.
func (v *deadGuest) read(t *testing.T, address uint64, size int) []byte {
	t.Helper()
	answer, err := v.HMPOn(t.Context(), v.Facts.PanicCPU, fmt.Sprintf("gva2gpa %#x", address))
	if err != nil {
		t.Fatal(err)
	}
	_, hex, _ := strings.Cut(strings.TrimSpace(answer), "gpa: ")
	f, err := os.Open(v.RAMFile())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := f.ReadAt(data, int64(number(t, hex))); err != nil {
		t.Fatal(err)
	}
	return data
}

func (v *deadGuest) testKallsyms(t *testing.T) {
	if len(v.Facts.Kallsyms) < 100 {
		t.Errorf("only %d symbols", len(v.Facts.Kallsyms))
	}
	for _, name := range []string{"_text", "init_task", "linux_banner", "panic", "modules", "init_top_pgt", "vfs_read"} {
		if v.Facts.Kallsyms[name] == 0 {
			t.Errorf("no symbol %s", name)
		}
	}
	for name, value := range v.Facts.Kallsyms {
		if s, ok := v.symbols[name]; ok && s.Value+v.slide != value {
			t.Errorf("%s is %#x, want %#x + slide %#x", name, value, s.Value, v.slide)
		}
	}
}

func (v *deadGuest) testRAM(t *testing.T) {
	banner := v.Facts.Kallsyms["linux_banner"]
	want := "Linux version " + v.Kernel.Release
	if got := v.read(t, banner, len(want)); string(got) != want {
		t.Errorf("at linux_banner (%#x) RAM holds %q, want %q", banner, got, want)
	}
}

func (v *deadGuest) testHello(t *testing.T) {
	hellos := v.Notices("hello")
	if len(hellos) != 1 || string(bytes.TrimSpace(hellos[0])) != v.Facts.ClockHello {
		t.Fatalf("hellos %q, want one: %q", hellos, v.Facts.ClockHello)
	}
	var n notice
	v.decode(t, hellos[0], &n)
	if n.PID != v.Facts.ClockPID || n.Comm != "clock" {
		t.Errorf("hello of process %d (%s), want %d (clock)", n.PID, n.Comm, v.Facts.ClockPID)
	}
	if v.Facts.ClockCR3 == 0 || v.Facts.ClockCR3&0xfff != 0 || v.config.PTI && v.Facts.ClockCR3&0x1000 != 0 {
		t.Errorf("clock's cr3 %#x is no page table of the kernel", v.Facts.ClockCR3)
	}
}

// testClock reads the clock's variable through the page table that the clock reported.
func (v *deadGuest) testClock(t *testing.T) {
	f, err := os.Open(v.RAMFile())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	word := func(physical uint64) uint64 {
		var b [8]byte
		if _, err := f.ReadAt(b[:], int64(physical)); err != nil {
			t.Fatal(err)
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	levels := 4
	if v.config.LA57 {
		levels = 5
	}
	address := symbols(t, v.ClockELF())["main.UnixTimeNow"].Value
	table := v.Facts.ClockCR3
	for level := levels; level > 0; level-- {
		entry := word(table + address>>(3+9*level)&0x1ff*8)
		if entry&1 == 0 {
			t.Fatalf("no page for %#x at level %d", address, level)
		}
		table = entry & 0x000ffffffffff000
	}
	if got := int64(word(table + address&0xfff)); got != v.Facts.LastClock {
		t.Errorf("UnixTimeNow is %d, want %d", got, v.Facts.LastClock)
	}
}

// notice has the members of a notice that this test reads.
type notice struct {
	Physgdb                       int
	Event, Host, Comm, Message    string
	CPU, PID                      int
	CR3, CR4, EFER, RIP, RSP, RBP string
	GSBase                        string `json:"gs_base"`
	VMCoreInfo                    string
}

func (v *deadGuest) decode(t *testing.T, datagram []byte, n *notice) {
	t.Helper()
	if len(datagram) >= 1460 {
		t.Errorf("a notice of %d bytes", len(datagram))
	}
	d := json.NewDecoder(bytes.NewReader(datagram))
	d.DisallowUnknownFields()
	if err := d.Decode(n); err != nil {
		t.Fatalf("notice %q: %v", datagram, err)
	}
}

func (v *deadGuest) testPanicNotice(t *testing.T, host string) {
	notices := v.Notices("panic")
	if len(notices) != noticeCopies {
		t.Fatalf("%d notices, want %d", len(notices), noticeCopies)
	}
	for _, again := range notices[1:] {
		if diff := cmp.Diff(string(notices[0]), string(again)); diff != "" {
			t.Errorf("copies differ:\n%s", diff)
		}
	}
	t.Logf("%s", notices[0])
	var n notice
	v.decode(t, notices[0], &n)
	if n.Physgdb != 1 || n.Host != host || n.Comm != "init" || n.Message != "sysrq triggered crash" {
		t.Errorf("got %+v, want version 1, host %q, comm init, message of a sysrq crash", n, host)
	}
	note, _, _ := strings.Cut(v.Facts.VMCoreInfo, " ")
	if number(t, n.VMCoreInfo) != number(t, note) {
		t.Errorf("vmcoreinfo %s, want %s", n.VMCoreInfo, note)
	}
	v.testRegisters(t, &n)
}

// testRegisters compares a panic notice with QEMU's registers of that CPU.
func (v *deadGuest) testRegisters(t *testing.T, n *notice) {
	function, start, end := v.panicFunction(t)
	if rip := number(t, n.RIP); rip < start || rip >= end {
		t.Errorf("rip %#x is outside %s(), %#x to %#x", rip, function, start, end)
	}
	cpu, err := v.Registers(t.Context(), n.CPU)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := number(t, n.CR3), cpu["cr3"]&^0xfff; got != want {
		t.Errorf("cr3 %#x, want %#x", got, want)
	}
	if v.config.PTI && number(t, n.CR3)&0x1000 != 0 {
		t.Errorf("cr3 %s is the user half of a pair", n.CR3)
	}
	if got, want := number(t, n.CR4), cpu["cr4"]; got != want || got>>12&1 == 1 != v.config.LA57 {
		t.Errorf("cr4 %#x, want %#x, 5-level paging %v", got, want, v.config.LA57)
	}
	if got, want := number(t, n.EFER), cpu["efer"]; got != want {
		t.Errorf("efer %#x, want %#x", got, want)
	}
	if got, want := number(t, n.GSBase), cpu["gs_base"]; got != want {
		t.Errorf("gs_base %#x, want %#x", got, want)
	}
	// The function calls others, whose return addresses are below the stack pointer.
	rsp := number(t, n.RSP)
	if caller := binary.LittleEndian.Uint64(v.read(t, rsp-8, 8)); caller < start || caller >= end {
		t.Errorf("below rsp %#x is %#x, want a return address in %s(), %#x to %#x", rsp, caller, function, start, end)
	}
	// panic() is variadic and has a frame pointer. vpanic() needs none.
	if rbp := number(t, n.RBP); function == "panic" && (rbp <= rsp || rbp-rsp > 1024) {
		t.Errorf("rsp %#x and rbp %#x are no frame", rsp, rbp)
	}
	// panic() ends in an endless loop in a function that it calls, on the same stack or, in an
	// interrupt, on another.
	t.Logf("stack pointer when frozen: rsp - %d", int64(rsp-cpu["rsp"]))
}

// panicFunction returns the function whose registers are in a notice, which calls the panic
// notifiers, and its address in the kernel.
func (v *deadGuest) panicFunction(t *testing.T) (name string, start, end uint64) {
	t.Helper()
	i := slices.IndexFunc(v.Facts.Frames, func(f Frame) bool { return f.Function == "vpanic" || f.Function == "panic" })
	if i < 0 {
		t.Fatalf("no panic() in the call trace %q", v.Facts.CallTrace)
	}
	f := v.Facts.Frames[i]
	start = v.Facts.Kallsyms[f.Function]
	return f.Function, start, start + f.Size
}

func number(t *testing.T, hex string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "0x"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMemoryMap(t *testing.T) {
	for size, want := range map[uint64]string{
		512 << 20:  "",
		2815 << 20: "",
		2816 << 20: "map=0:0x80000000:0,0x100000000:0x30000000:0x80000000",
		6 << 30:    "map=0:0x80000000:0,0x100000000:0x100000000:0x80000000",
	} {
		if got := memoryMap(size); got != want {
			t.Errorf("%d MiB: got %q, want %q", size>>20, got, want)
		}
	}
}
