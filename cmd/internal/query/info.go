package host

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"

	"physgdb/internal/plain"
	"physgdb/mmu"
)

// WriteInfo says what this machine is and how that is known.
func (m *Machine) WriteInfo(ctx context.Context, w io.Writer) error {
	return m.writeInfo(ctx, w, m.Space)
}

// writeInfo is WriteInfo for whoever looks at another address space.
func (m *Machine) writeInfo(ctx context.Context, w io.Writer, space *mmu.Space) error {
	k := m.Kernel
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("source", "%s", m.Memory.Info().Name)
	if layout := m.Memory.layout; layout != "" {
		row("layout", "?map=%s, which fits: RAM is split around the PCI hole", layout)
	}
	row("RAM map", "%s", m.Memory.ramText())
	if n := m.Notice; n != nil {
		row("host", "%s", plain.Line(n.Host))
	}
	if obituary := m.obituary(ctx); obituary != "" {
		row("died of", "%s", obituary)
	}
	if banner := k.Banner(ctx); banner != "" {
		row("kernel", "%s", plain.Line(banner))
	}
	if other := m.neighbourText(ctx); other != "" {
		row("other kernel", "%s", other)
	}
	switch {
	case k.Symbols == nil:
		row("symbols", "none: %s", m.whyNoSymbols())
	case !k.SizesKnown():
		row("symbols", "few, which the debugger lent: give --vmlinux FILE for names")
	default:
		if len(k.Symbols.BuildID) > 0 {
			row("build-id", "%x", k.Symbols.BuildID)
		} else {
			row("build-id", "not known: memory has none of a usual length where that of the kernel is")
		}
		m.writeVmlinux(row)
	}
	row("found by", "%s, in %d bridge reads (%s)%s", k.FoundBy, m.foundIn.Reads, sizeText(m.foundIn.Bytes), m.Memory.uncounted())
	row("CR3", "%#x, %d-level paging", space.Root().CR3, k.Root.Levels)
	if m.Process != "" {
		row("process", "%s", m.Process)
	}
	row("_text", "%#x, at phys %#x", k.Text, uint64(k.TextPhys))
	if k.Symbols != nil {
		row("slide", "%#x", k.Slide)
	} else {
		row("slide", "%#x, if the kernel was linked where most are", k.Slide)
	}
	row("phys_base", "%#x", k.PhysBase())
	row("CPUs", "%s", m.cpuList(ctx))
	return t.Flush()
}

// writeVmlinux says what explains the kernel.
func (m *Machine) writeVmlinux(row func(name, format string, args ...any)) {
	v := m.vmlinux
	switch {
	case v == nil:
	case v.trusted:
		row("symbols", "%d, kept of a machine of this build-id, and not compared with this one (--trust-build-id)", v.Len())
	case v.made:
		row("symbols", "%d, out of the machine's own memory", v.Len())
	case v.found:
		row("symbols", "%d, from %s, which was found by its build-id", v.Len(), v.path)
	default:
		row("symbols", "%d, from %s, whose build-id is that in memory", v.Len(), v.path)
	}
	if v != nil {
		for _, why := range v.missing {
			row("missing", "%s", plain.Line(why.Error()))
		}
	}
}

// whyNoSymbols says why the kernel's symbols are not known, and what the user can do.
func (m *Machine) whyNoSymbols() string {
	if m.noVmlinux == nil {
		return "leave out --symbols none"
	}
	return plain.Line(m.noVmlinux.Error()) + "; give --vmlinux FILE"
}

func (m *Machine) cpuList(ctx context.Context) string {
	var names []string
	dead, offline := m.deadCPU(ctx), m.offline(ctx)
	for _, cpu := range m.cpus {
		name := strconv.Itoa(cpu)
		switch {
		case cpu == dead:
			name += " (panicked)"
		case offline[cpu]:
			name += " (offline)"
		}
		names = append(names, name)
	}
	if m.Kernel.Symbols == nil {
		names = append(names, "others not known")
	}
	return strings.Join(names, ", ")
}

// offline tells which CPUs were not up, by their numbers, as far as that is known.
func (m *Machine) offline(ctx context.Context) map[int]bool {
	set := map[int]bool{}
	if m.Kernel.Symbols == nil {
		return set
	}
	cpus, _ := m.Kernel.CPUs(ctx)
	for i := range cpus {
		set[cpus[i].ID] = cpus[i].Offline
	}
	return set
}

// WriteStats says what the session cost the bridge.
func (m *Machine) WriteStats(w io.Writer) error { return m.Memory.writeCounts(w) }

func (m *Memory) writeCounts(w io.Writer) error {
	c := m.Counts()
	_, err := fmt.Fprintf(w, "bridge: %d reads in %d batches, %s", c.Reads, c.Batches, sizeText(c.Bytes))
	if err == nil && c.Packets > 0 {
		_, err = fmt.Fprintf(w, "; %d TLPs sent, %d of them again", c.Packets, c.Retries)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, m.uncounted())
	}
	return err
}

// sizeText writes a number of bytes with its unit, exactly where it is a whole number of a larger one.
func sizeText(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			if n%u.size == 0 {
				return fmt.Sprintf("%d %s", n/u.size, u.name)
			}
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// Addresses reads what a user typed for virtual addresses: numbers, see [ParseAddress], or symbols of the kernel, with
// or without +offset.
func (m *Machine) Addresses(texts []string) ([]uint64, error) {
	vas := make([]uint64, len(texts))
	for i, text := range texts {
		var err error
		if vas[i], err = m.address(text); err != nil {
			return nil, &UsageError{err}
		}
	}
	return vas, nil
}

// address reads one of them. A name has to be that of one place: not of several symbols, nor of a per-CPU variable.
func (m *Machine) address(text string) (uint64, error) {
	addrs, err := m.addresses(text)
	if err != nil {
		return 0, err
	}
	if len(addrs) > 1 {
		return 0, fmt.Errorf("%q stands for several symbols, at %s; give one of these addresses", text, addressList(addrs))
	}
	name, _, _ := strings.Cut(text, "+")
	if at, ok := m.Kernel.Addr(name); ok && m.Kernel.IsPerCPU(at) {
		return 0, fmt.Errorf("%q is a per-CPU variable: each CPU has its own; percpu %s all shows where they are", text, name)
	}
	return addrs[0], nil
}

// maxAddresses bounds how many addresses of one name are listed.
const maxAddresses = 32

func addressList(addrs []uint64) string {
	var list []string
	for _, addr := range addrs[:min(len(addrs), maxAddresses)] {
		list = append(list, fmt.Sprintf("%#x", addr))
	}
	if more := len(addrs) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// addresses reads a number, or the name of one or several symbols with or without +offset.
func (m *Machine) addresses(text string) ([]uint64, error) {
	v, err := ParseAddress(text)
	switch {
	case err == nil:
		return []uint64{v}, nil
	case strings.HasPrefix(text, "$"):
		return nil, fmt.Errorf("%q is the debugger's own: give its value, see print/x %s", text, text)
	case m.Kernel.Symbols == nil:
		return nil, fmt.Errorf("%w, and symbols are not known: %s", err, m.whyNoSymbols())
	}
	name, offset, plus := strings.Cut(text, "+")
	var off uint64
	if plus {
		if off, err = strconv.ParseUint(offset, 0, 64); err != nil {
			return nil, fmt.Errorf("%q: %q is not an offset: want one such as 16 or 0x10", text, offset)
		}
	}
	addrs := m.Kernel.Addrs(name)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%q is neither an address such as 0x1000 nor a symbol of the kernel", text)
	}
	for i := range addrs {
		addrs[i] += off
	}
	return addrs, nil
}

// ParseAddress reads an address, virtual or physical. It must have its 0x: without, nobody could tell which base 1000 is
// in, and a wrong guess would show a wrong place.
func ParseAddress(text string) (uint64, error) {
	digits, isHex := strings.CutPrefix(strings.ToLower(text), "0x")
	v, err := strconv.ParseUint(digits, 16, 64)
	switch {
	case err == nil && (isHex || v == 0):
		return v, nil
	case err == nil:
		return 0, fmt.Errorf("%q is not an address: if it is meant in hexadecimal, write 0x%s", text, digits)
	}
	return 0, fmt.Errorf("%q is not an address such as 0x1000", text)
}

// WriteVtop explains how va is translated in space, entry by entry. The error says why it is not.
func (m *Machine) WriteVtop(ctx context.Context, w io.Writer, space *mmu.Space, va uint64) error {
	steps, mp, err := space.Explain(ctx, va)
	fmt.Fprintf(w, "%#x", va)
	if name := m.Kernel.NameAt(ctx, va); name != "" {
		fmt.Fprintf(w, " %s", name)
	}
	fmt.Fprintf(w, "\n  CR3   %#x\n", space.Root().CR3)
	for _, s := range steps {
		fmt.Fprintf(w, "  %-4s  entry %3d at phys %#-12x = %#016x\n", mmu.TableName(s.Level), s.Index, uint64(s.Addr), s.Entry)
	}
	if err != nil {
		return fmt.Errorf("%#x: %w", va, err)
	}
	pa := mp.Phys(va)
	fmt.Fprintf(w, "  phys  %#x, in a page of %s, %v", uint64(pa), sizeText(mp.Page), mp.Flags)
	switch ram := m.Memory.Info().RAM; {
	case ram.Known() && !ram.Contains(pa, 1):
		fmt.Fprint(w, "; not RAM, and never read")
	case !ram.Known() && mp.Flags&mmu.Uncached != 0:
		fmt.Fprint(w, "; most likely a device: never read without a RAM map")
	}
	_, err = fmt.Fprintln(w)
	return err
}

// MapsOptions say which mappings to write, and how.
type MapsOptions struct {
	Range mmu.Range
	All   bool // every page for itself
	JSON  bool
	Most  int // lines to write; 0 for all
}

// mapLine is a range of mappings as JSON shows it.
type mapLine struct {
	VA    string   `json:"va"`
	End   string   `json:"end"` // the first address behind it
	PA    string   `json:"pa"`
	Page  uint64   `json:"page"` // bytes
	Flags string   `json:"flags"`
	Path  []uint16 `json:"path"`
	RAM   bool     `json:"ram"` // false: not RAM, or not known to be, and never read
	// Times is how often the same pages are mapped from VA on, Stride bytes apart; 0 if once.
	Times  uint64 `json:"times,omitempty"`
	Stride uint64 `json:"stride,omitempty"`
}

// mapTitles are the titles of the columns.
const mapTitles = "%18s %-18s  %12s  %-5s  %s  %s\n"

// WriteMaps lists what is mapped in space, and on notes what it cost and where tables were damaged. The error says that
// the list is not whole.
func (m *Machine) WriteMaps(ctx context.Context, w, notes io.Writer, space *mmu.Space, o *MapsOptions) error {
	var pages, lines uint64
	var first error // of the damaged places
	damaged := 0
	for mp, err := range o.list(ctx, space) {
		if err != nil {
			if damaged++; damaged == 1 {
				first = err
			}
			if damaged <= shownDamage {
				fmt.Fprintf(notes, "physgdb: maps: %v\n", err)
			}
			continue
		}
		if o.Most > 0 && lines == uint64(o.Most) {
			fmt.Fprintf(notes, "physgdb: maps: there is more, see physgdb maps; these are the first %d lines\n", o.Most)
			break
		}
		if lines == 0 && !o.JSON {
			fmt.Fprintf(w, mapTitles, "FROM", "TO", "PHYSICAL", "PAGE", "RIGHTS", "INDEX")
		}
		lines++
		pages += mp.Size / mp.Page * mp.Times
		line := m.mapLine(&mp)
		if o.JSON {
			err = plain.WriteJSON(w, line)
		} else {
			err = line.write(w)
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(notes, "physgdb: maps: %d pages in %d lines; ", pages, lines)
	m.Memory.writeCounts(notes)
	if err := ctx.Err(); err != nil {
		return err
	}
	if damaged > 0 {
		return fmt.Errorf("the list is not whole: places in the page tables that cannot be followed: %d, the first: %w",
			damaged, first)
	}
	return nil
}

// list enumerates what the options ask for.
func (o *MapsOptions) list(ctx context.Context, space *mmu.Space) iter.Seq2[mmu.Fold, error] {
	pages := space.Mappings(ctx, o.Range)
	if !o.All {
		return mmu.FoldEqual(mmu.Merge(pages))
	}
	return func(yield func(mmu.Fold, error) bool) {
		for mp, err := range pages {
			if !yield(mmu.Fold{Mapping: mp, Times: 1}, err) {
				return
			}
		}
	}
}

// shownDamage is how many damaged places of the page tables are told one by one.
const shownDamage = 10

func (m *Machine) mapLine(mp *mmu.Fold) mapLine {
	ram := m.Memory.Info().RAM
	isRAM := mp.Flags&mmu.Uncached == 0
	if ram.Known() {
		isRAM = ram.Contains(mp.PA, mp.Size)
	}
	behind := mp.VA + (mp.Times-1)*mp.Stride + mp.Size
	end := fmt.Sprintf("%#x", behind)
	if behind == 0 {
		end = "0x10000000000000000"
	}
	line := mapLine{
		VA: fmt.Sprintf("%#x", mp.VA), End: end, PA: fmt.Sprintf("%#x", uint64(mp.PA)),
		Page: mp.Page, Flags: mp.Flags.String(), Path: mp.Path(), RAM: isRAM,
	}
	if mp.Times > 1 {
		line.Times, line.Stride = mp.Times, mp.Stride
	}
	return line
}

func (l *mapLine) write(w io.Writer) error {
	path := make([]string, len(l.Path))
	for i, p := range l.Path {
		path[i] = strconv.Itoa(int(p))
	}
	note := ""
	if l.Times > 1 {
		note = fmt.Sprintf("  %d times, one every %s", l.Times, sizeText(l.Stride))
	}
	if !l.RAM {
		note += "  not RAM"
	}
	_, err := fmt.Fprintf(w, "%18s-%-18s  %12s  %-5s  %-6s  %s%s\n", l.VA, l.End, l.PA, sizeText(l.Page), l.Flags,
		strings.Join(path, "/"), note)
	return err
}

// Unexplained returns why the kernel's names are not known, where they should be: without them most commands have nothing to
// say. It is nil if the user wanted none.
func (m *Machine) Unexplained() error {
	if m.Kernel.Symbols != nil || m.noVmlinux == nil {
		return nil
	}
	return fmt.Errorf("the kernel's symbols are not known: %s", m.whyNoSymbols())
}
