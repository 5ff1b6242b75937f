package unwind

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// Two mechanisms replace return addresses on the stack, in order to be called when a function
// returns: the function_graph tracer and kretprobes. Each saves the original address and the
// address of its stack slot. The slot identifies the entry, as in the kernel's own unwinder
// (ftrace_graph_ret_addr, kernel/trace/fgraph.c; rethook_find_ret_addr, kernel/trace/rethook.c;
// kretprobe_find_ret_addr, kernel/kprobes.c).

// graphTrampoline is the address that the function_graph tracer puts in place of return addresses
// (arch/x86/kernel/ftrace_64.S).
const graphTrampoline = "return_to_handler"

// probeTrampolines are the addresses that kretprobes put in place of return addresses: since 5.18,
// since 5.16, and before (arch/x86/kernel/rethook.c, arch/x86/kernel/kprobes/core.c).
var probeTrampolines = []string{"arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"}

// trampolines are the addresses in the running kernel that replace return addresses; 0 for none.
type trampolines struct{ graph, probe uint64 }

func (u *Unwinder) trampolines() (t trampolines) {
	t.graph, _ = u.Kernel.Addr(graphTrampoline)
	for _, name := range probeTrampolines {
		if at, ok := u.Kernel.Addr(name); ok {
			t.probe = at
			break
		}
	}
	return t
}

// ReplacedReturns returns the addresses in a table that replace return addresses.
func ReplacedReturns(names *symbols.Table) []uint64 {
	var all []uint64
	for _, name := range append([]string{graphTrampoline}, probeTrampolines...) {
		if s, ok := names.Lookup(name); ok {
			all = append(all, s.Addr)
		}
	}
	return all
}

// ReadTrueReturns reads a stack with its original return addresses. Those that are not known are
// returned as they are in memory.
func (u *Unwinder) ReadTrueReturns(ctx context.Context, addr uint64, p []byte) (int, error) {
	const word = 8
	first := addr &^ (word - 1)
	whole := make([]byte, (addr-first+uint64(len(p))+word-1)&^(word-1))
	n, err := u.Kernel.Space.ReadMemory(ctx, first, whole)
	t := u.trampolines()
	for at := 0; at+word <= n; at += word {
		v := binary.LittleEndian.Uint64(whole[at:])
		if !t.has(v) {
			continue
		}
		if v, err := u.TrueReturn(ctx, first+uint64(at), v); err == nil {
			binary.LittleEndian.PutUint64(whole[at:], v)
		}
	}
	if uint64(n) < addr-first+uint64(len(p)) {
		return copy(p, whole[min(int(addr-first), n):n]), err
	}
	return copy(p, whole[addr-first:]), nil
}

func (t trampolines) has(word uint64) bool { return word != 0 && (word == t.graph || word == t.probe) }

// ErrReplaced is the error for a return address that was replaced, and whose original is not known.
var ErrReplaced = errors.New("the return address was replaced by the function_graph tracer or a kretprobe")

// TrueReturn returns the original return address of a function. word is the return address at slot,
// a stack address.
func (u *Unwinder) TrueReturn(ctx context.Context, slot, word uint64) (uint64, error) {
	t := u.trampolines()
	if !t.has(word) {
		return word, nil
	}
	task, err := u.stackOwner(ctx, slot)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	r := u.replacedOf(ctx, task)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return r.trueReturn(t, slot, word)
}

// restoreReturns sets the original return addresses in words that were read from the stack at
// start, which the task uses. Those that are not known are unchanged. The error is ctx's.
func (u *Unwinder) restoreReturns(ctx context.Context, task, start uint64, words []uint64) error {
	t := u.trampolines()
	if !slices.ContainsFunc(words, t.has) {
		return nil
	}
	r := u.replacedOf(ctx, task)
	for i := range words {
		if word, err := r.trueReturn(t, start+8*uint64(i), words[i]); err == nil {
			words[i] = word
		}
	}
	return ctx.Err()
}

// stackOwner returns the task that uses the stack with an address: its own, or that of the CPU that
// it runs on.
func (u *Unwinder) stackOwner(ctx context.Context, addr uint64) (uint64, error) {
	cpus, err := u.Kernel.CPUs(ctx)
	if err != nil && ctx.Err() != nil {
		return 0, err
	}
	for i := range cpus {
		if cpus[i].Current != 0 && cpus[i].OnStack(addr) {
			return cpus[i].Current, nil
		}
	}
	for i := range cpus { // usually this is the task that panicked; reading all tasks is not necessary
		if t, err := u.Kernel.TaskAt(ctx, cpus[i].Current); err == nil && t.OnStack(addr) {
			return t.Addr, nil
		}
	}
	byStack, err := u.byStack.Get(ctx, func(ctx context.Context) ([]*linux.Task, error) {
		list, err := u.Kernel.Tasks(ctx)
		if err != nil {
			return nil, err
		}
		return slices.SortedFunc(slices.Values(list.All), func(a, b *linux.Task) int { return cmp.Compare(a.Stack, b.Stack) }), nil
	})
	if err != nil {
		return 0, err
	}
	i, found := slices.BinarySearchFunc(byStack, addr, func(t *linux.Task, addr uint64) int { return cmp.Compare(t.Stack, addr) })
	if !found {
		i--
	}
	if i < 0 || !byStack[i].OnStack(addr) {
		return 0, fmt.Errorf("%#x is not on the stack of any known task", addr)
	}
	return byStack[i].Addr, nil
}

// replaced has the original return addresses of a task by their stack slots.
type replaced struct {
	graph, probe map[uint64]uint64
	err          error // why some may be missing
}

// maxReplacements bounds how often one return address can be replaced: once by each mechanism.
const maxReplacements = 2

// trueReturn follows the replacements of the word at slot.
func (r *replaced) trueReturn(t trampolines, slot, word uint64) (uint64, error) {
	for range maxReplacements {
		from := r.probe
		switch {
		case !t.has(word):
			return word, nil
		case word == t.graph:
			from = r.graph
		}
		var ok bool
		if word, ok = from[slot]; !ok {
			break
		}
	}
	if ok := word != 0 && !t.has(word); ok {
		return word, nil
	}
	if r.err != nil {
		return 0, fmt.Errorf("%w: %w", ErrReplaced, r.err)
	}
	return 0, fmt.Errorf("%w, and the task keeps no address for %#x", ErrReplaced, slot)
}

// replacedOf reads the original return addresses that are saved for a task.
func (u *Unwinder) replacedOf(ctx context.Context, task uint64) *replaced {
	r := &replaced{graph: map[uint64]uint64{}, probe: map[uint64]uint64{}}
	layout, err := linux.StructOf[replacedMembers](ctx, u.Kernel, "task_struct")
	if err != nil {
		r.err = err
		return r
	}
	m, err := layout.ReadOne(ctx, u.Kernel.Space, task)
	if err != nil {
		r.err = err
		return r
	}
	t := u.trampolines()
	if m.RetStack != 0 {
		r.err = u.readGraph(ctx, m.RetStack, m.Current, t.graph, r.graph)
	}
	switch {
	case layout.Has("Rethooks"):
		err = u.readProbeList(ctx, "rethook_node", m.Rethooks, t.probe, r.probe)
	case layout.Has("Probes"):
		err = u.readProbeList(ctx, "kretprobe_instance", m.Probes, t.probe, r.probe)
	default:
		err = u.readProbeTable(ctx, task, t.probe, r.probe)
	}
	r.err = cmp.Or(r.err, err)
	return r
}

// replacedMembers are the members of struct task_struct with the saved return addresses.
type replacedMembers struct {
	RetStack uint64 `c:"?ret_stack"`
	Current  int    `c:"?curr_ret_stack"`
	Rethooks uint64 `c:"?rethooks.first"`            // since 5.18
	Probes   uint64 `c:"?kretprobe_instances.first"` // 5.11 to 5.17
}

// graphEntry is struct ftrace_ret_stack (include/linux/ftrace.h).
type graphEntry struct {
	Ret  uint64 `c:"ret"`
	Slot uint64 `c:"retp"` // since 4.9
}

// maxGraphStack bounds the size of a task's ret_stack, in bytes: SHADOW_STACK_SIZE of
// kernel/trace/fgraph.c, a page, since 6.11; before, 50 entries of at most 56 bytes
// (FTRACE_RETFUNC_DEPTH, include/linux/ftrace.h).
const maxGraphStack = 4096

// readGraph reads the return addresses that the function_graph tracer saved for a task. From 6.11
// on, ret_stack is an array of words, which contains entries and words that describe them, and
// current counts words. Before, it is an array of entries, and current is the index of the last
// one. A function that ended in a tail call has several entries; all but one have the trampoline as
// the address.
func (u *Unwinder) readGraph(ctx context.Context, stack uint64, current int, trampoline uint64, into map[uint64]uint64) error {
	layout, err := linux.StructOf[graphEntry](ctx, u.Kernel, "ftrace_ret_stack")
	if err != nil {
		return err
	}
	entrySize := layout.Size()
	if entrySize == 0 || entrySize > maxGraphStack || current < -1 || current > maxGraphStack {
		return fmt.Errorf("ret_stack at %#x: %d entries of %d bytes: damaged", stack, current, entrySize)
	}
	step, size := uint64(8), uint64(max(current, 0))*8
	if _, words := u.Kernel.Addr("fgraph_reserve_data"); !words {
		step, size = entrySize, uint64(current+1)*entrySize
	}
	if size > maxGraphStack {
		return fmt.Errorf("ret_stack at %#x: %d bytes: damaged", stack, size)
	}
	p := make([]byte, size)
	if _, err := u.Kernel.Space.ReadMemory(ctx, stack, p); err != nil {
		return fmt.Errorf("ret_stack: %w", err)
	}
	for at := uint64(0); at+entrySize <= size; at += step {
		if e := layout.Decode(p[at:][:entrySize]); e.Ret != trampoline && u.Kernel.InText(e.Ret) {
			into[e.Slot] = e.Ret // the innermost, if several have the same slot
		}
	}
	return nil
}

// readProbeTable reads the return addresses that kretprobes saved for a task up to 5.10: in a hash
// table of lists, which tasks share.
func (u *Unwinder) readProbeTable(ctx context.Context, task, trampoline uint64, into map[uint64]uint64) error {
	table, ok := u.Kernel.Addr("kretprobe_inst_table")
	if !ok {
		return nil // without kretprobes
	}
	// Lists are hashed by task: kretprobe_inst_table and KPROBE_HASH_BITS, kernel/kprobes.c;
	// hash_64, include/linux/hash.h.
	const goldenRatio, bits = 0x61C8864680B583EB, 6
	first, err := kmem.ReadUint(ctx, u.Kernel.Space, table+8*(task*goldenRatio>>(64-bits)), 8)
	if err != nil {
		return fmt.Errorf("kretprobe_inst_table: %w", err)
	}
	return u.readProbeList(ctx, "kretprobe_instance", first, trampoline, into)
}

// probeNode is a return address that a kretprobe replaced: struct rethook_node
// (include/linux/rethook.h), or struct kretprobe_instance (include/linux/kprobes.h). The stack slot
// was added in 4.2 as fp.
type probeNode struct {
	Next uint64 `c:"llist.next|hlist.next"`
	Ret  uint64 `c:"ret_addr"`
	Slot uint64 `c:"frame|fp"`
}

// maxProbeNodes bounds a list of replaced return addresses: a stack has no more words.
const maxProbeNodes = 1 << 14

// readProbeList reads a list of replaced return addresses. If several have the same slot, all but
// one have the trampoline as the address.
func (u *Unwinder) readProbeList(ctx context.Context, typ string, node, trampoline uint64, into map[uint64]uint64) error {
	if node == 0 {
		return nil
	}
	layout, err := linux.StructOf[probeNode](ctx, u.Kernel, typ)
	if err != nil {
		return err
	}
	for range maxProbeNodes {
		if node == 0 {
			return nil
		}
		n, err := layout.ReadOne(ctx, u.Kernel.Space, node-layout.Offset("Next"))
		if err != nil {
			return err
		}
		if _, inner := into[n.Slot]; !inner && n.Ret != trampoline && u.Kernel.InText(n.Ret) {
			into[n.Slot] = n.Ret // the list begins with the innermost
		}
		node = n.Next
	}
	return fmt.Errorf("the list of %s has no end", typ)
}
