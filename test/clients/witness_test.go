package clients

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"physgdb/test/guest"
)

// witness has the expected values for a machine, from the guest itself, from QEMU and from the ELF
// files.
type witness struct {
	guest *guest.Guest

	jiffies      uint64   // does not change; read to check that a client still works
	instructions []uint64 // addresses of the first twenty of vfs_read
	clockVar     uint64   // the clock's variable that holds the time of its last tick, in its address space
	oopsInner    uint64   // the function of trouble.ko that made the oops
	search       search
}

// search is a word in a range of the kernel's memory, and its addresses.
type search struct {
	start, length, word uint64
	hits                []uint64
}

// searched is the size of the range that is searched, in bytes.
const searched = 1 << 20

// observe returns the expected values for a machine that died in trouble.ko.
func observe(ctx context.Context, g *guest.Guest) (*witness, error) {
	w := &witness{guest: g}
	if g.Facts.Slide == 0 {
		return nil, fmt.Errorf("the slide is 0")
	}
	var err error
	if w.jiffies, err = w.qemuWord(ctx, g.Facts.Kallsyms["jiffies"]); err != nil {
		return nil, err
	}
	if w.instructions, err = w.disassembled(ctx, g.Facts.Kallsyms["vfs_read"], 20); err != nil {
		return nil, err
	}
	inClock, err := symbols(g.ClockELF(), "main.UnixTimeNow")
	if err != nil {
		return nil, err
	}
	inTrouble, err := symbols(g.Kernel.Trouble, "oops_inner")
	if err != nil {
		return nil, err
	}
	w.clockVar = inClock["main.UnixTimeNow"]
	w.oopsInner = g.Facts.ModuleSections["trouble"][".text"] + inTrouble["oops_inner"]
	w.search, err = w.searchable(ctx, g.Facts.Kallsyms["linux_banner"]&^0xfff)
	return w, err
}

// qemuWord returns the word at a virtual address from QEMU's monitor.
func (w *witness) qemuWord(ctx context.Context, va uint64) (uint64, error) {
	out, err := w.guest.HMP(ctx, fmt.Sprintf("x/1gx %#x", va))
	if err != nil {
		return 0, err
	}
	_, value, _ := strings.Cut(strings.TrimSpace(out), ": ")
	return strconv.ParseUint(value, 0, 64)
}

// instruction matches a line of QEMU's disassembly; the bytes of a long instruction continue in a
// line without a mnemonic.
var instruction = regexp.MustCompile(`(?m)^0x([0-9a-f]+):  (?:[0-9a-f]{2} )+ +[a-z]`)

// disassembled returns the addresses of instructions in QEMU's disassembly.
func (w *witness) disassembled(ctx context.Context, va uint64, n int) ([]uint64, error) {
	out, err := w.guest.HMP(ctx, fmt.Sprintf("x/%di %#x", n, va))
	if err != nil {
		return nil, err
	}
	var addrs []uint64
	for _, m := range instruction.FindAllStringSubmatch(out, -1) {
		addr, _ := strconv.ParseUint(m[1], 16, 64)
		addrs = append(addrs, addr)
	}
	if len(addrs) != n || addrs[0] != va {
		return nil, fmt.Errorf("QEMU disassembles %#x as\n%s", va, out)
	}
	return addrs, nil
}

// searchable saves memory with QEMU's monitor and returns the last word that occurs once.
func (w *witness) searchable(ctx context.Context, start uint64) (search, error) {
	file := filepath.Join(w.guest.Dir(), "searched")
	defer os.Remove(file)
	if out, err := w.guest.HMP(ctx, fmt.Sprintf("memsave %#x %#x %q", start, searched, file)); err != nil || out != "" {
		return search{}, fmt.Errorf("memsave: %w %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return search{}, err
	}
	for at := len(data) - 8; at >= 0; at -= 8 {
		s := search{start: start, length: searched, word: binary.LittleEndian.Uint64(data[at:])}
		for i := 0; i+8 <= len(data); i++ {
			if binary.LittleEndian.Uint64(data[i:]) == s.word {
				s.hits = append(s.hits, start+uint64(i))
			}
		}
		if s.word>>56 != 0 && len(s.hits) == 1 {
			return s, nil
		}
	}
	return search{}, fmt.Errorf("no unique word from %#x on", start)
}

// symbols returns the values of those of the named symbols that an ELF file has.
func symbols(file string, names ...string) (map[string]uint64, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	values := map[string]uint64{}
	for _, s := range all {
		if slices.Contains(names, s.Name) {
			values[s.Name] = s.Value
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%s has none of %q", file, names)
	}
	return values, nil
}

// addressOf returns the address of a symbol from the guest's own /proc/kallsyms.
func (w *witness) addressOf(name string) uint64 { return w.guest.Facts.Kallsyms[name] }

// code returns the addresses of the first and the last disassembled instruction.
func (w *witness) code() (first, last uint64) {
	if len(w.instructions) == 0 {
		return 0, 0
	}
	return w.instructions[0], w.instructions[len(w.instructions)-1]
}

// calls returns the functions of the kernel's own Call Trace, starting with the one that caused the
// oops.
func (w *witness) calls() []string {
	var names []string
	if rip := w.guest.Facts.OopsRIP; rip != nil {
		names = append(names, rip.Function)
	}
	for _, f := range w.guest.Facts.Frames {
		names = append(names, f.Function)
	}
	return names
}
