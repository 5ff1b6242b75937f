package hostile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// fakeModules adds modules at the head of the kernel's list. All have the same tables, with the
// given number of symbols of one name.
func fakeModules(im *Image, modules, symbols int) error {
	const nameSize, symbolSize, maxModule = 4000, 24, 4096 // bytes
	head, err := im.Addr("modules")
	if err != nil {
		return err
	}
	o, err := im.Offsets("module", "list", "name", "kallsyms", "source_list", "state")
	if err != nil {
		return err
	}
	list, name, kallsyms, users, state := o[0], o[1], o[2], o[3], o[4]
	memory, err := memoryOfModules(im)
	if err != nil {
		return err
	}
	tables, err := im.Offsets("mod_kallsyms", "symtab", "num_symtab", "strtab", "typetab")
	if err != nil {
		return err
	}
	size := symbols*symbolSize + symbols + nameSize + 2
	at, area, err := im.Alloc(size)
	if err != nil {
		return err
	}
	types, strings := symbols*symbolSize, symbols*symbolSize+symbols
	for i := range symbols {
		p := area[i*symbolSize:]
		binary.LittleEndian.PutUint32(p, 1)
		p[4] = 2 // STT_FUNC
		binary.LittleEndian.PutUint16(p[6:], 1)
		binary.LittleEndian.PutUint64(p[8:], at+uint64(i))
		area[types+i] = 't'
	}
	for i := range nameSize {
		area[strings+1+i] = 'n'
	}
	table, _, err := im.Alloc(4096)
	if err != nil {
		return err
	}
	structs, memoryOf, err := im.Alloc(modules * maxModule)
	if err != nil {
		return err
	}
	errs := []error{
		im.Put64(table+tables[0], at), im.Put32(table+tables[1], uint32(symbols)),
		im.Put64(table+tables[2], at+uint64(strings)), im.Put64(table+tables[3], at+uint64(types)),
	}
	first, err := im.Get64(head)
	errs = append(errs, err)
	for i := range modules {
		md := structs + uint64(i*maxModule)
		copy(memoryOf[i*maxModule+int(name):], fmt.Sprintf("fake%d", i))
		next, prev := md+maxModule+list, md-maxModule+list
		if i == modules-1 {
			next = first
			errs = append(errs, im.Put64(first+8, md+list))
		}
		if i == 0 {
			prev = head
			errs = append(errs, im.Put64(head, md+list))
		}
		errs = append(errs, im.Put32(md+state, 0), im.Put64(md+list, next, prev), im.Put64(md+kallsyms, table),
			im.Put64(md+users, md+users, md+users))
		for _, m := range memory {
			errs = append(errs, im.Put64(md+m.base, at), im.Put32(md+m.size, uint32(size)))
		}
	}
	return errors.Join(errs...)
}

// moduleMemory has the offsets in struct module of the address and the size of a part of the
// module's memory.
type moduleMemory struct{ base, size uint64 }

// memoryOfModules returns these offsets for a module's text and data: two parts since Linux 6.4,
// one before.
func memoryOfModules(im *Image) ([]moduleMemory, error) {
	if o, err := im.Offsets("module", "core_layout.base", "core_layout.size"); err == nil {
		return []moduleMemory{{o[0], o[1]}}, nil
	}
	o, err := im.Offsets("module", "mem[0].base", "mem[0].size", "mem[1].base", "mem[1].size")
	if err != nil {
		return nil, err
	}
	return []moduleMemory{{o[0], o[1]}, {o[2], o[3]}}, nil
}

// fakeTasks replaces the tree of pids by one with the given number of tasks.
func fakeTasks(im *Image, count int) error {
	task, err := im.Offsets("task_struct", "pid", "tgid", "pid_links")
	if err != nil {
		return err
	}
	taskSize, err := im.Types.Size("task_struct")
	if err != nil {
		return err
	}
	pid, err := im.Offsets("pid", "numbers[0].nr", "tasks[0].first")
	if err != nil {
		return err
	}
	const taskStep, pidStep, pidSize = 8, 24, 256 // bytes
	if task[1] != task[0]+4 {
		return errors.New("pid and tgid are not adjacent")
	}
	if d := (pidStep + pid[0]%pidStep - pid[1]%pidStep) % pidStep; d < 8 || d+4 > pidStep {
		return errors.New("structs pid cannot overlap so")
	}
	tasks, tasksRAM, err := im.Alloc(count*taskStep + int(taskSize))
	if err != nil {
		return err
	}
	pids, pidsRAM, err := im.Alloc(count*pidStep + pidSize)
	if err != nil {
		return err
	}
	entries := make([]uint64, count+1) // 0 is no pid
	le := binary.LittleEndian
	for i := range count {
		nr := uint32(i + 1)
		le.PutUint32(tasksRAM[i*taskStep+int(task[0]):], nr)
		le.PutUint32(tasksRAM[i*taskStep+int(task[1]):], nr)
		le.PutUint32(pidsRAM[i*pidStep+int(pid[0]):], nr)
		le.PutUint64(pidsRAM[i*pidStep+int(pid[1]):], tasks+uint64(i*taskStep)+task[2])
		entries[nr] = pids + uint64(i*pidStep)
	}
	head, err := xarrayOf(im, entries)
	if err != nil {
		return err
	}
	ns, err := im.Addr("init_pid_ns")
	if err != nil {
		return err
	}
	root, err := im.Offsets("pid_namespace", "idr.idr_rt.xa_head")
	if err != nil {
		return err
	}
	return im.Put64(ns+root[0], head)
}

// xarrayOf makes an XArray of entries and returns its xa_head.
func xarrayOf(im *Image, entries []uint64) (uint64, error) {
	const slots, internal = 64, 2
	o, err := im.Offsets("xa_node", "shift", "slots")
	if err != nil {
		return 0, err
	}
	size, err := im.Types.Size("xa_node")
	if err != nil {
		return 0, err
	}
	for shift := 0; ; shift += 6 {
		nodes := (len(entries) + slots - 1) / slots
		at, ram, err := im.Alloc(nodes * int(size))
		if err != nil {
			return 0, err
		}
		above := make([]uint64, nodes)
		for i := range nodes {
			node := ram[i*int(size):]
			node[o[0]] = byte(shift)
			for j, e := range entries[i*slots : min((i+1)*slots, len(entries))] {
				binary.LittleEndian.PutUint64(node[int(o[1])+8*j:], e)
			}
			above[i] = at + uint64(i)*size | internal
		}
		if nodes == 1 {
			return above[0], nil
		}
		entries = above
	}
}

// hugeLog sets the sizes of the log's rings to their maximum.
func hugeLog(im *Image) error {
	prb, err := im.Addr("prb")
	if err != nil {
		return err
	}
	ring, err := im.Get64(prb)
	if err != nil {
		return err
	}
	o, err := im.Offsets("printk_ringbuffer", "desc_ring.count_bits", "text_data_ring.size_bits", "desc_ring.head_id")
	if err != nil {
		return err
	}
	return errors.Join(im.Put32(ring+o[0], 26), im.Put32(ring+o[1], 31), im.Put64(ring+o[2], 1<<27))
}

// manyCPUs sets more possible CPUs than any machine has.
func manyCPUs(im *Image) error {
	const most = 8192
	count, err1 := im.Addr("nr_cpu_ids")
	mask, err2 := im.Addr("__cpu_possible_mask")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	errs := []error{im.Put32(count, most)}
	for i := range uint64(most / 64) {
		errs = append(errs, im.Put64(mask+8*i, ^uint64(0)))
	}
	return errors.Join(errs...)
}

// buildIDOf changes the size of the build-id in the kernel's notes.
func buildIDOf(im *Image, size uint32) error {
	start, err1 := im.Addr("__start_notes")
	stop, err2 := im.Addr("__stop_notes")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	notes, err := im.At(start)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for at := 0; at+16 <= int(stop-start); at += 4 {
		if le.Uint32(notes[at:]) == 4 && le.Uint32(notes[at+8:]) == 3 && string(notes[at+12:at+16]) == "GNU\x00" {
			le.PutUint32(notes[at+4:], size)
			return nil
		}
	}
	return errors.New("there is no build-id")
}

// manyPrograms adds BPF programs to the kernel's list of their symbols. Each is 16 bytes of
// the kernel's own text.
func manyPrograms(im *Image) error {
	const count, step, codeSize = 100_000, 640, 16 // step and codeSize: bytes
	head, err1 := im.Addr("bpf_kallsyms")
	text, err2 := im.Addr("_text")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	o, err := im.Offsets("bpf_ksym", "start", "end", "name", "lnode.next")
	if err != nil {
		return err
	}
	if size, err := im.Types.Size("bpf_ksym"); err != nil || size > step {
		return fmt.Errorf("struct bpf_ksym has %d bytes: %w", size, err)
	}
	at, ram, err := im.Alloc(count * step)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for i := range count {
		p := ram[i*step:]
		le.PutUint64(p[o[0]:], text+1<<20+uint64(i)*codeSize)
		le.PutUint64(p[o[1]:], text+1<<20+uint64(i+1)*codeSize)
		copy(p[o[2]:], fmt.Sprintf("%0511d", i))
		next := head
		if i+1 < count {
			next = at + uint64(i+1)*step + o[3]
		}
		le.PutUint64(p[o[3]:], next)
	}
	return im.Put64(head, at+o[3])
}
