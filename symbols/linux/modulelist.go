package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols"
)

// Limits of what is believed of a damaged machine.
const (
	mostModules      = 1 << 13
	mostModuleRegion = 1 << 31 // bytes; the range of addresses for modules is smaller
	mostModuleUses   = 1 << 16 // of all modules by others
)

type moduleFields struct {
	State      member `c:"state"`
	Next       member `c:"list.next"`
	Prev       member `c:"list.prev"`
	Name       member `c:"name" max:"64"`   // MODULE_NAME_LEN, include/linux/module.h, is 64 less an unsigned long
	Mem        member `c:"?mem" max:"2048"` // from 6.4 on; seven of some 80 bytes
	CoreBase   member `c:"?core_layout.base"`
	CoreSize   member `c:"?core_layout.size"`
	CoreText   member `c:"?core_layout.text_size"`
	InitBase   member `c:"?init_layout.base"`
	InitSize   member `c:"?init_layout.size"`
	InitText   member `c:"?init_layout.text_size"`
	Taints     member `c:"taints"`
	Init       member `c:"init"`
	Exit       member `c:"?exit"`
	Refs       member `c:"?refcnt"`
	Users      member `c:"?source_list.next"`
	BuildID    member `c:"?build_id" max:"20"` // BUILD_ID_SIZE_MAX, include/linux/buildid.h
	PerCPU     member `c:"?percpu"`
	Kallsyms   member `c:"?kallsyms"`
	SectAttrs  member `c:"?sect_attrs"`
	ORCCount   member `c:"?arch.num_orcs"`
	ORCIPs     member `c:"?arch.orc_unwind_ip"`
	ORCEntries member `c:"?arch.orc_unwind"`
}

// moduleFinder goes through the kernel's list of modules from both ends at once: half as many steps, each of which costs a
// round trip, and where the list is torn, what lies on either side is found.
type moduleFinder struct {
	k      *Kernel
	l      *layout
	f      moduleFields
	mem    []memType // what the elements of mem are
	memory symbols.Types

	head   uint64             // of the list
	found  map[uint64]*Module // by where their node of the list lies; nil for what is no module
	users  map[*Module]uint64 // the first of a module's users: a node of their list
	damage damage
}

// moduleWalk is a walk through the list in one direction.
type moduleWalk struct {
	follow *member // the pointer that leads on
	back   *member // the one that must lead back
	at     uint64  // the node to be visited
	from   uint64  // the node that led there
	found  []*Module
	ended  bool
}

func (k *Kernel) readModules(ctx context.Context) (*Modules, error) {
	ms, err := k.findModules(ctx)
	if err != nil {
		return nil, fmt.Errorf("the list of modules: %w", err)
	}
	return ms, nil
}

func (k *Kernel) findModules(ctx context.Context) (*Modules, error) {
	f := &moduleFinder{k: k, found: map[uint64]*Module{}, users: map[*Module]uint64{}}
	var err error
	if f.l, err = k.layout(ctx, "module", &f.f); err != nil {
		return nil, err
	}
	if f.memory, err = k.Types(ctx); err != nil {
		return nil, err
	}
	if err := f.memTypes(); err != nil {
		return nil, err
	}
	forward, backward, err := f.ends(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.walk(ctx, forward, backward); err != nil {
		return nil, err
	}
	slices.Reverse(backward.found)
	all := slices.Concat(forward.found, backward.found)
	if err := f.readUsers(ctx, all); err != nil {
		return nil, err
	}
	return &Modules{all, f.damage.list(), f.damage.answers}, nil
}

// ends reads the head of the list.
func (f *moduleFinder) ends(ctx context.Context) (forward, backward *moduleWalk, err error) {
	head, ok := f.k.Addr("modules")
	switch {
	case ok:
	case f.k.namesFunctionsOnly():
		return nil, nil, f.k.noSymbol("modules")
	default:
		return nil, nil, errors.New("the kernel has no symbol modules (a kernel without modules?)")
	}
	var h struct {
		Next member `c:"next"`
		Prev member `c:"prev"`
	}
	l, err := f.k.layout(ctx, "list_head", &h)
	if err != nil {
		return nil, nil, err
	}
	r, err := l.readOne(ctx, f.k.Space, head)
	if err != nil {
		return nil, nil, err
	}
	f.head = head
	forward = &moduleWalk{follow: &f.f.Next, back: &f.f.Prev, at: h.Next.uint(r), from: head}
	backward = &moduleWalk{follow: &f.f.Prev, back: &f.f.Next, at: h.Prev.uint(r), from: head}
	return forward, backward, nil
}

// walk takes one step in both directions with each batch, until they meet.
func (f *moduleFinder) walk(ctx context.Context, walks ...*moduleWalk) error {
	for {
		var going []*moduleWalk
		var addrs []uint64
		for _, w := range walks {
			if f.goesOn(w) {
				going = append(going, w)
				addrs = append(addrs, w.at-f.f.Next.Offset)
			}
		}
		if len(going) == 0 {
			return nil
		}
		records, err := f.l.read(ctx, f.k.Space, addrs)
		if err != nil {
			return err
		}
		for i, w := range going {
			f.visit(w, addrs[i], records[i])
		}
	}
}

// goesOn reports whether there is a node for a walk to visit that none has visited.
func (f *moduleFinder) goesOn(w *moduleWalk) bool {
	if w.ended || w.at == f.head {
		w.ended = true
		return false
	}
	if m, visited := f.found[w.at]; visited {
		w.ended = true
		if slices.Contains(w.found, m) {
			f.damage.add("it runs in a circle at module %s: some may be missing", m.Name)
		}
		return false
	}
	if len(f.found) >= mostModules {
		w.ended = true
		f.damage.add("it has no end: some may be missing, and some may be none")
		return false
	}
	return true
}

// visit takes the module at the node that a walk has come to.
func (f *moduleFinder) visit(w *moduleWalk, addr uint64, r record) {
	if _, visited := f.found[w.at]; visited { // the other walk has come to the same node
		w.ended = true
		return
	}
	if r.err == nil {
		r.err = f.implausible(r)
	}
	if r.err != nil {
		f.damage.add("it breaks behind %s, some may be missing: %w", f.nodeName(w.from), r.err)
		f.found[w.at] = nil
		w.ended = true
		return
	}
	m := f.module(addr, r)
	if w.back.uint(r) != w.from {
		f.damage.add("it leads to module %s, and from there not back: one was being loaded or removed, or memory is damaged",
			m.Name)
	}
	f.found[w.at] = m
	w.found = append(w.found, m)
	w.from, w.at = w.at, w.follow.uint(r)
}

// nodeName says whose a node of the list is.
func (f *moduleFinder) nodeName(node uint64) string {
	if m := f.found[node]; m != nil {
		return "module " + m.Name
	}
	return "its head"
}

// implausible tells why a record cannot be that of a module.
func (f *moduleFinder) implausible(r record) error {
	name := f.f.Name.bytes(r)
	end := bytes.IndexByte(name, 0)
	if end <= 0 || !symbols.Printable(name[:end]) || f.f.State.uint(r) > uint64(ModuleUnformed) {
		return fmt.Errorf("there is no module there (name %q, state %d)", name[:max(end, 0)], f.f.State.uint(r))
	}
	return nil
}

func (f *moduleFinder) module(addr uint64, r record) *Module {
	m := &Module{
		Name:     f.f.Name.text(r),
		Addr:     addr,
		State:    ModuleState(f.f.State.uint(r)),
		Taint:    Taint(f.f.Taints.uint(r)),
		Refs:     -1,
		PerCPU:   f.f.PerCPU.uint(r),
		k:        f.k,
		kallsyms: f.f.Kallsyms.uint(r),
		attrs:    f.f.SectAttrs.uint(r),
		orc:      moduleORC{f.f.ORCIPs.uint(r), f.f.ORCEntries.uint(r), f.f.ORCCount.uint(r)},
	}
	m.Permanent = f.f.Init.uint(r) != 0 && f.f.Exit.uint(r) == 0
	if f.f.Refs.known {
		m.Refs = f.f.Refs.int(r) - 1 // MODULE_REF_BASE, kernel/module/main.c: its own
	}
	if id := f.f.BuildID.bytes(r); len(bytes.Trim(id, "\x00")) > 0 {
		m.buildID = id
	}
	f.regions(m, r)
	f.users[m] = f.f.Users.uint(r)
	return m
}
