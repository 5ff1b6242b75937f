// Package find finds the Linux kernel in the memory of a machine: by what is known of it, by the
// traces that a kernel leaves in memory, and by another kernel in the same memory.
package find

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
	"physgdb/symbols/linux"
)

// Options are options of [Kernel]. Nil means that nothing is known about the kernel.
type Options struct {
	CR3        uint64                         // of any address space of the machine, unverified; or 0
	VMCoreInfo bridge.PhysAddr                // of the VMCOREINFO note, unverified; or 0
	Levels     int                            // of the page tables, 4 or 5; 0 if not known
	Symbols    *symbols.Table                 // of its vmlinux, or nil
	Debug      linux.Debug                    // of its vmlinux, or nil
	Code       func(*linux.Kernel) linux.Code // see [linux.Options]
	// Quick skips searches of all of RAM.
	Quick bool
	// Progress, if not nil, is called during searches of all of RAM with the number of bytes
	// searched so far and in total.
	Progress func(done, total uint64)
}

// NotFoundError is the error for a kernel that was not found.
type NotFoundError struct {
	Tried []error // why each candidate and each method was rejected
}

func (e *NotFoundError) Error() string {
	const maxListed, last = 6, 3
	var parts []string
	for i, err := range e.Tried {
		switch rest := len(e.Tried) - i; {
		case i < maxListed-last || rest <= last:
			parts = append(parts, err.Error())
		case i == maxListed-last:
			parts = append(parts, fmt.Sprintf("%d more of that kind", rest-last))
		}
	}
	found := "no kernel was found: "
	if errors.Is(errors.Join(e.Tried...), linux.ErrOtherKernel) {
		found = "no kernel of this vmlinux was found: "
	}
	return found + strings.Join(parts, "; ")
}

// Unwrap returns what was tried.
func (e *NotFoundError) Unwrap() []error { return e.Tried }

// ErrNoRAMMap is the error for a search of RAM without a RAM map.
var ErrNoRAMMap = errors.New("RAM was not looked through, as no map says where it is")

// Kernel searches memory for the kernel and attaches to it. m translates addresses; mem is the
// physical memory, without a cache, because each place is read once.
//
// Memory may hold more than one kernel, such as one that started this one by kexec, or a capture
// kernel. If there is a vmlinux, a kernel with another build-id does not end the search. The error
// is a [*NotFoundError] unless reads time out or ctx ends.
func Kernel(ctx context.Context, m *mmu.MMU, mem bridge.Memory, o *Options) (*linux.Kernel, error) {
	if o == nil {
		o = &Options{}
	}
	if o.Symbols != nil {
		if _, err := linux.LinkAddr(o.Symbols); err != nil {
			return nil, err
		}
	}
	f := &finder{m: m, mem: mem, o: o}
	return f.tryMethods(ctx, []func(context.Context) (*linux.Kernel, error){
		f.byCR3, f.byVMCoreInfo, f.byTrampoline, f.byBanner, f.byNoteScan,
	})
}

// tryMethods calls methods in order until one returns a kernel.
func (f *finder) tryMethods(ctx context.Context, methods []func(context.Context) (*linux.Kernel, error)) (*linux.Kernel, error) {
	for _, method := range methods {
		k, err := method(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for the kernel: %w", err)
		}
		if k != nil {
			return k, nil
		}
	}
	return nil, &NotFoundError{f.tried}
}

// finder is the state of a search. A method that finds no kernel returns nil without an error.
type finder struct {
	m      *mmu.MMU
	mem    bridge.Memory
	o      *Options
	tried  []error          // why candidates were rejected
	others []linux.Location // kernels that were found and rejected
}

// byCR3 tries the CR3 that was given. It may be that of another boot, or of another machine.
func (f *finder) byCR3(ctx context.Context) (*linux.Kernel, error) {
	if f.o.CR3 == 0 {
		return nil, nil
	}
	l, err := linux.Locate(ctx, f.m, f.o.CR3, f.o.Levels)
	if err != nil {
		return nil, f.recordFailure(ctx, err)
	}
	return f.identify(ctx, l, linux.ByCR3, fmt.Sprintf("CR3 %#x", f.o.CR3))
}

// candidate is a top-level page table that may map the kernel.
type candidate struct {
	method linux.Method
	where  string // how it was found
	cr3    uint64
	levels int
	fits   func(*linux.Location) error // returns an error if the kernel contradicts how it was found
}

// try attaches to the kernel that a candidate maps, after it has verified the candidate.
func (f *finder) try(ctx context.Context, c *candidate) (*linux.Kernel, error) {
	l, err := linux.LocateFound(ctx, f.m, c.cr3, c.levels)
	if err == nil {
		err = c.fits(l)
	}
	if err != nil {
		return nil, f.recordFailure(ctx, fmt.Errorf("%s: %w", c.where, err))
	}
	return f.identify(ctx, l, c.method, c.where)
}

// identify attaches to the kernel at l, unless the vmlinux is of another one.
func (f *finder) identify(ctx context.Context, l *linux.Location, method linux.Method, where string) (*linux.Kernel, error) {
	for _, o := range f.others {
		if o.Text == l.Text && o.TextPhys == l.TextPhys {
			return nil, nil
		}
	}
	k, err := linux.AttachAt(ctx, f.m, l, &linux.Options{Symbols: f.o.Symbols, Debug: f.o.Debug, Code: f.o.Code})
	if err != nil {
		f.others = append(f.others, *l)
		return nil, f.recordFailure(ctx, fmt.Errorf("%s: %w", where, err))
	}
	return k, k.Found(ctx, method)
}

// maxTried bounds the candidates of a search: whole pages are read for each.
const maxTried = 256

// recordFailure records why a candidate was rejected. It returns an error if the search must end.
func (f *finder) recordFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, bridge.ErrTimeout) {
		return err
	}
	if len(f.tried) >= maxTried {
		return fmt.Errorf("%d places look as if they led to a kernel, and do not; the last: %w", maxTried, err)
	}
	f.tried = append(f.tried, err)
	return nil
}

// sawOther reports whether a kernel was found that the vmlinux is not of.
func (f *finder) sawOther() bool {
	return errors.Is(&NotFoundError{f.tried}, linux.ErrOtherKernel)
}

// probe reads a few bytes at each of many places.
type probe struct {
	size    int  // bytes
	trusted bool // see [bridge.Op.Trusted]
	// hit is called with the bytes at a place. It returns the kernel if it was found by them, or an
	// error that ends the search.
	hit func(at bridge.PhysAddr, p []byte) (*linux.Kernel, error)
	// passed, if not nil, is called when all places up to at have been read.
	passed func(at bridge.PhysAddr)
}

// search runs a probe. nothing is the error message if no place has a candidate.
func (f *finder) search(
	ctx context.Context, p *probe, places iter.Seq[bridge.PhysAddr], nothing string,
) (*linux.Kernel, error) {
	before := len(f.tried)
	k, t, err := p.run(ctx, f.mem, places)
	switch {
	case k != nil || err != nil || len(f.tried) > before:
		return k, err
	case t.unread != nil:
		return nil, f.recordFailure(ctx, fmt.Errorf("%s (of %d, %d could not be read, the first: %w)", nothing, t.places,
			t.places-t.read, t.unread))
	}
	return nil, f.recordFailure(ctx, fmt.Errorf("%s (%d looked at)", nothing, t.places))
}

// tally counts the places of a probe.
type tally struct {
	read, places int   // places that could be read, and all places
	unread       error // why the first of the others could not
}

// Batches of a probe grow from firstBatch to lastBatch places: the first places are the most likely
// ones, and each batch costs a round trip.
const firstBatch, lastBatch = 16, 1024

// run reads the places in order until hit returns the kernel. Places that cannot be read are
// skipped.
func (p *probe) run(ctx context.Context, mem bridge.Memory, places iter.Seq[bridge.PhysAddr]) (*linux.Kernel, tally, error) {
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

// batch returns reads of the next n places, or of those that are left.
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

// progress returns the passed function of a probe that goes through RAM upwards.
func (f *finder) progress(ram bridge.RAMMap) func(bridge.PhysAddr) {
	if f.o.Progress == nil {
		return nil
	}
	total := ram.Size()
	return func(at bridge.PhysAddr) {
		f.o.Progress(ram.Intersect(bridge.RAMMap{{End: at + 1}}).Size(), total)
	}
}
