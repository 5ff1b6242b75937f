package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols/linux"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
)

// Limits for damaged memory.
const (
	maxModules = 1 << 13
	maxRegion  = 1 << 31 // bytes; the range of addresses for modules is smaller
	maxUses    = 1 << 16 // of all modules by others
)

// moduleStruct is struct module (include/linux/module.h).
type moduleStruct struct {
	State      uint64 `c:"state"`
	Next       uint64 `c:"list.next"`
	Prev       uint64 `c:"list.prev"`
	Name       []byte `c:"name" max:"64"`   // MODULE_NAME_LEN is 64 less an unsigned long
	Mem        []byte `c:"?mem" max:"2048"` // from 6.4 on; seven of some 80 bytes
	CoreBase   uint64 `c:"?core_layout.base"`
	CoreSize   uint64 `c:"?core_layout.size"`
	CoreText   uint64 `c:"?core_layout.text_size"`
	InitBase   uint64 `c:"?init_layout.base"`
	InitSize   uint64 `c:"?init_layout.size"`
	InitText   uint64 `c:"?init_layout.text_size"`
	Taints     uint64 `c:"taints"`
	Init       uint64 `c:"init"`
	Exit       uint64 `c:"?exit"`
	Refs       int    `c:"?refcnt"`
	Users      uint64 `c:"?source_list.next"`
	BuildID    []byte `c:"?build_id" max:"20"` // BUILD_ID_SIZE_MAX, include/linux/buildid.h
	PerCPU     uint64 `c:"?percpu"`
	Kallsyms   uint64 `c:"?kallsyms"`
	SectAttrs  uint64 `c:"?sect_attrs"`
	ORCCount   uint64 `c:"?arch.num_orcs"`
	ORCIPs     uint64 `c:"?arch.orc_unwind_ip"`
	ORCEntries uint64 `c:"?arch.orc_unwind"`
}

// listHead is struct list_head (include/linux/types.h).
type listHead struct {
	Next uint64 `c:"next"`
	Prev uint64 `c:"prev"`
}

// finder follows the kernel's list of modules from both ends at once: this takes half as many round
// trips, and if the list is broken, the modules on both sides are found.
type finder struct {
	owner  *Modules
	k      *linux.Kernel
	layout *kmem.Struct[moduleStruct]
	mem    []memType // the elements of mem
	memory symbols.Types

	head   uint64             // of the list
	found  map[uint64]*Module // by the address of their node; nil for a node that is not a module
	users  map[*Module]uint64 // the first node of the list of users of a module
	damage kmem.Damage
}

// walk is the state of a walk through the list in one direction.
type walk struct {
	forward bool   // follows next; otherwise prev
	at      uint64 // the node to be visited
	from    uint64 // the node that points to it
	found   []*Module
	ended   bool
}

func (ms *Modules) read(ctx context.Context) (*List, error) {
	return ms.list.Get(ctx, func(ctx context.Context) (*List, error) {
		list, err := ms.find(ctx)
		if err != nil {
			return nil, fmt.Errorf("the list of modules: %w", err)
		}
		return list, nil
	})
}

func (ms *Modules) find(ctx context.Context) (*List, error) {
	f := &finder{owner: ms, k: ms.k, found: map[uint64]*Module{}, users: map[*Module]uint64{}}
	var err error
	if f.layout, err = linux.StructOf[moduleStruct](ctx, f.k, "module"); err != nil {
		return nil, err
	}
	if f.memory, err = f.k.Types(ctx); err != nil {
		return nil, err
	}
	if err := f.memTypes(); err != nil {
		return nil, err
	}
	forward, backward, err := f.ends(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.walkList(ctx, forward, backward); err != nil {
		return nil, err
	}
	slices.Reverse(backward.found)
	all := slices.Concat(forward.found, backward.found)
	if err := f.readUsers(ctx, all); err != nil {
		return nil, err
	}
	return &List{all, f.damage.List(), f.damage.Timeouts}, nil
}

// ends reads the head of the list.
func (f *finder) ends(ctx context.Context) (forward, backward *walk, err error) {
	head, ok := f.k.Addr("modules")
	switch {
	case ok:
	case f.k.NamesFunctionsOnly():
		return nil, nil, f.k.NoSymbol("modules")
	default:
		return nil, nil, errors.New("the kernel has no symbol modules (a kernel without modules?)")
	}
	layout, err := linux.StructOf[listHead](ctx, f.k, "list_head")
	if err != nil {
		return nil, nil, err
	}
	ends, err := layout.ReadOne(ctx, f.k.Space, head)
	if err != nil {
		return nil, nil, err
	}
	f.head = head
	forward = &walk{forward: true, at: ends.Next, from: head}
	backward = &walk{at: ends.Prev, from: head}
	return forward, backward, nil
}

// walkList moves both walks by one node with each batch, until they meet.
func (f *finder) walkList(ctx context.Context, walks ...*walk) error {
	for {
		var going []*walk
		var addrs []uint64
		for _, w := range walks {
			if f.goesOn(w) {
				going = append(going, w)
				addrs = append(addrs, w.at-f.layout.Offset("Next"))
			}
		}
		if len(going) == 0 {
			return nil
		}
		structs, errs, err := f.layout.Read(ctx, f.k.Space, addrs)
		if err != nil {
			return err
		}
		for i, w := range going {
			f.visit(w, addrs[i], &structs[i], errs[i])
		}
	}
}

// goesOn reports whether the next node of a walk exists and is not visited yet.
func (f *finder) goesOn(w *walk) bool {
	if w.ended || w.at == f.head {
		w.ended = true
		return false
	}
	if m, visited := f.found[w.at]; visited {
		w.ended = true
		if slices.Contains(w.found, m) {
			f.damage.Add("it runs in a circle at module %s: some may be missing", m.Name)
		}
		return false
	}
	if len(f.found) >= maxModules {
		w.ended = true
		f.damage.Add("it has no end: some may be missing, and some may be none")
		return false
	}
	return true
}

// visit adds the module at the node that a walk has reached.
func (f *finder) visit(w *walk, addr uint64, s *moduleStruct, err error) {
	if _, visited := f.found[w.at]; visited { // by the other walk
		w.ended = true
		return
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		f.damage.Add("it breaks after %s, some may be missing: %w", f.nodeName(w.from), err)
		f.found[w.at] = nil
		w.ended = true
		return
	}
	m := f.module(addr, s)
	onward, back := s.Next, s.Prev
	if !w.forward {
		onward, back = back, onward
	}
	if back != w.from {
		f.damage.Add("it leads to module %s, and from there not back: one was being loaded or removed, or memory is damaged",
			m.Name)
	}
	f.found[w.at] = m
	w.found = append(w.found, m)
	w.from, w.at = w.at, onward
}

// nodeName describes the owner of a node of the list.
func (f *finder) nodeName(node uint64) string {
	if m := f.found[node]; m != nil {
		return "module " + m.Name
	}
	return "its head"
}

// check returns why a struct cannot be a module.
func (s *moduleStruct) check() error {
	end := bytes.IndexByte(s.Name, 0)
	if end <= 0 || !symbols.Printable(s.Name[:end]) || s.State > uint64(Unformed) {
		return fmt.Errorf("there is no module there (name %q, state %d)", s.Name[:max(end, 0)], s.State)
	}
	return nil
}

func (f *finder) module(addr uint64, s *moduleStruct) *Module {
	m := &Module{
		Name:     kmem.CString(s.Name),
		Addr:     addr,
		State:    State(s.State),
		Taint:    linux.Taint(s.Taints),
		Refs:     -1,
		PerCPU:   s.PerCPU,
		owner:    f.owner,
		kallsyms: s.Kallsyms,
		attrs:    s.SectAttrs,
		orc:      orcPlace{s.ORCIPs, s.ORCEntries, s.ORCCount},
	}
	m.Permanent = s.Init != 0 && s.Exit == 0
	if f.layout.Has("Refs") {
		m.Refs = s.Refs - 1 // MODULE_REF_BASE, kernel/module/main.c: its own
	}
	if len(bytes.Trim(s.BuildID, "\x00")) > 0 {
		m.buildID = s.BuildID
	}
	f.regions(m, s)
	f.users[m] = s.Users
	return m
}
