package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols"
)

// Rung is a way to find a kernel: one rung of the ladder that [Find] climbs, cheapest first.
type Rung string

// The rungs, in order.
const (
	ByCR3        Rung = "CR3"                  // somebody told it
	ByVMCoreInfo Rung = "VMCOREINFO"           // somebody told its physical address
	ByTrampoline Rung = "real-mode trampoline" // what starts further CPUs, below 640 KiB
	ByBanner     Rung = "banner"               // of the vmlinux, at every place where a kernel may lie
	ByNoteScan   Rung = "VMCOREINFO scan"      // all of RAM looked through for it

	// ByELFCoreHeaders is for the kernel whose dump another captures, see [FindOther].
	ByELFCoreHeaders Rung = "elfcorehdr= of its capture kernel"
)

// FindOptions say how to look for a kernel. Nil means that nothing is known.
type FindOptions struct {
	CR3        uint64          // that somebody believes to be of the machine, or 0
	VMCoreInfo bridge.PhysAddr // where somebody believes the VMCOREINFO note to be, or 0
	Levels     int             // of the page tables, 4 or 5; 0 if not known
	Symbols    *symbols.Table  // of its vmlinux, or nil
	Debug      Debug           // of its vmlinux, or nil
	// Quick leaves out what looks through all of RAM.
	Quick bool
	// Progress hears how many of how many bytes of RAM have been looked through, during what may take long. Nil if
	// nobody wants to know.
	Progress func(done, total uint64)
}

// NotFoundError says that the kernel was not found, and what was tried.
type NotFoundError struct{ Tried []error }

func (e *NotFoundError) Error() string {
	const most, last = 6, 3 // of what was tried is told
	var parts []string
	for i, err := range e.Tried {
		switch rest := len(e.Tried) - i; {
		case i < most-last || rest <= last:
			parts = append(parts, err.Error())
		case i == most-last:
			parts = append(parts, fmt.Sprintf("%d more of that kind", rest-last))
		}
	}
	found := "no kernel was found: "
	if errors.Is(errors.Join(e.Tried...), ErrOtherKernel) {
		found = "no kernel of this vmlinux was found: "
	}
	return found + strings.Join(parts, "; ")
}

// Unwrap returns what was tried.
func (e *NotFoundError) Unwrap() []error { return e.Tried }

// ErrNoRAMMap says that RAM was not looked through because nobody knows where it is.
var ErrNoRAMMap = errors.New("RAM was not looked through, as no map says where it is")

// Find looks for the kernel in memory, and attaches to it. m walks page tables; mem is the physical memory itself,
// without a cache, as what is looked at here is looked at once.
//
// Memory may hold more than one kernel: that which the machine was started from by kexec, say, or which was there to
// dump it. With a vmlinux, one of another build-id does not end the search. The error is a [*NotFoundError] unless
// memory does not answer.
func Find(ctx context.Context, m *mmu.MMU, mem bridge.Memory, o *FindOptions) (*Kernel, error) {
	if o == nil {
		o = &FindOptions{}
	}
	if o.Symbols != nil {
		if _, err := linkAddr(o.Symbols); err != nil {
			return nil, err
		}
	}
	f := &finder{m: m, mem: mem, o: o}
	return f.climb(ctx, []func(context.Context) (*Kernel, error){
		f.byCR3, f.byVMCoreInfo, f.byTrampoline, f.byBanner, f.byNoteScan,
	})
}

// climb tries rungs in their order until one leads to a kernel.
func (f *finder) climb(ctx context.Context, rungs []func(context.Context) (*Kernel, error)) (*Kernel, error) {
	for _, rung := range rungs {
		k, err := rung(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for the kernel: %w", err)
		}
		if k != nil {
			return k, nil
		}
	}
	return nil, &NotFoundError{f.tried}
}

// finder is a search under way. Each rung returns nil without an error if it leads nowhere.
type finder struct {
	m      *mmu.MMU
	mem    bridge.Memory
	o      *FindOptions
	tried  []error    // what did not lead to the kernel, and why
	others []Location // kernels that were found, but not taken
}

// byCR3 goes by what somebody told. That may be of another boot, or of another machine.
func (f *finder) byCR3(ctx context.Context) (*Kernel, error) {
	if f.o.CR3 == 0 {
		return nil, nil
	}
	l, err := Locate(ctx, f.m, f.o.CR3, f.o.Levels)
	if err != nil {
		return nil, f.setback(ctx, err)
	}
	return f.identify(ctx, l, ByCR3, fmt.Sprintf("CR3 %#x", f.o.CR3))
}

// candidate is a root of page tables that may map the kernel.
type candidate struct {
	rung   Rung
	where  string // what led to it, and where that lies
	cr3    uint64
	levels int
	fits   func(*Location) error // says if what is found there contradicts what led to it
}

// try attaches to the kernel that a candidate maps. Nothing is believed of a candidate but what this confirms.
func (f *finder) try(ctx context.Context, c *candidate) (*Kernel, error) {
	l, err := locate(ctx, f.m, c.cr3, c.levels)
	if err == nil {
		err = c.fits(l)
	}
	if err != nil {
		return nil, f.setback(ctx, fmt.Errorf("%s: %w", c.where, err))
	}
	return f.identify(ctx, l, c.rung, c.where)
}

// identify attaches to the kernel at l, unless it is another than that of the vmlinux.
func (f *finder) identify(ctx context.Context, l *Location, rung Rung, where string) (*Kernel, error) {
	for _, o := range f.others {
		if o.Text == l.Text && o.TextPhys == l.TextPhys {
			return nil, nil
		}
	}
	k, err := attach(ctx, f.m, l, &Options{Symbols: f.o.Symbols, Debug: f.o.Debug})
	if err != nil {
		f.others = append(f.others, *l)
		return nil, f.setback(ctx, fmt.Errorf("%s: %w", where, err))
	}
	k.FoundBy = rung
	return k, k.leaveTrampoline(ctx)
}

// mostTried bounds how many candidates a search looks into: whole pages are read for each.
const mostTried = 256

// setback notes why something led nowhere. It returns an error if the search must end.
func (f *finder) setback(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, bridge.ErrTimeout) {
		return err
	}
	if len(f.tried) >= mostTried {
		return fmt.Errorf("%d places look as if they led to a kernel, and do not; the last: %w", mostTried, err)
	}
	f.tried = append(f.tried, err)
	return nil
}

// sawOther reports whether a kernel was found that is not that of the vmlinux.
func (f *finder) sawOther() bool {
	return errors.Is(&NotFoundError{f.tried}, ErrOtherKernel)
}

// probe is a look at the same few bytes in many places.
type probe struct {
	size    int  // bytes
	trusted bool // see [bridge.Op.Trusted]
	// hit looks at what was read at a place. It returns the kernel if that has led to it, and an error to end the search.
	hit func(at bridge.PhysAddr, p []byte) (*Kernel, error)
	// passed is told that all places up to this one were looked at. It may be nil.
	passed func(at bridge.PhysAddr)
}

// search runs a probe. If it finds nothing at all, nothing is what it says.
func (f *finder) search(
	ctx context.Context, p *probe, places iter.Seq[bridge.PhysAddr], nothing string,
) (*Kernel, error) {
	before := len(f.tried)
	k, t, err := p.run(ctx, f.mem, places)
	switch {
	case k != nil || err != nil || len(f.tried) > before:
		return k, err
	case t.unread != nil:
		return nil, f.setback(ctx, fmt.Errorf("%s (of %d, %d could not be read, the first: %w)", nothing, t.places,
			t.places-t.read, t.unread))
	}
	return nil, f.setback(ctx, fmt.Errorf("%s (%d looked at)", nothing, t.places))
}

// tally is what became of a probe.
type tally struct {
	read, places int   // how many places could be read, and how many there were
	unread       error // why the first of the others could not be read
}

// Batches of a probe grow from the first of these sizes to the last: what is looked for is often near, and else each
// batch is a round trip.
const firstBatch, lastBatch = 16, 1024

// run looks at the places in their order, until one has led to the kernel. Places that cannot be read are passed over.
func (p *probe) run(ctx context.Context, mem bridge.Memory, places iter.Seq[bridge.PhysAddr]) (*Kernel, tally, error) {
	var t tally
	next, stop := iter.Pull(places)
	defer stop()
	for n := firstBatch; ; n = min(4*n, lastBatch) {
		ops := p.batch(next, n)
		if len(ops) == 0 {
			return nil, t, ctx.Err()
		}
		if err := mem.ReadPhys(ctx, ops); err != nil {
			return nil, t, err
		}
		for i := range ops {
			t.places++
			switch err := ops[i].Err; {
			case errors.Is(err, bridge.ErrTimeout):
				return nil, t, err
			case err != nil:
				t.unread = cmp.Or(t.unread, err)
				continue
			}
			t.read++
			if k, err := p.hit(ops[i].Addr, ops[i].Buf); k != nil || err != nil {
				return k, t, err
			}
		}
		if p.passed != nil {
			p.passed(ops[len(ops)-1].Addr)
		}
	}
}

// batch makes reads of the next n places, or of those that are left.
func (p *probe) batch(next func() (bridge.PhysAddr, bool), n int) []bridge.Op {
	ops := make([]bridge.Op, 0, n)
	data := make([]byte, n*p.size)
	for i := range n {
		at, ok := next()
		if !ok {
			break
		}
		ops = append(ops, bridge.Op{Addr: at, Buf: data[i*p.size:][:p.size], Trusted: p.trusted})
	}
	return ops
}

// progress returns what to call as a probe comes along in RAM, upwards.
func (f *finder) progress(ram bridge.RAMMap) func(bridge.PhysAddr) {
	if f.o.Progress == nil {
		return nil
	}
	total := ram.Size()
	return func(at bridge.PhysAddr) {
		f.o.Progress(ram.Intersect(bridge.RAMMap{{End: at + 1}}).Size(), total)
	}
}
