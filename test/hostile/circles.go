package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols/linux"
)

// tableEntries is the number of 8-byte entries of a page table, and tableFlags are those of a
// present, writable user page that has been used (Intel SDM volume 3, 4.5).
const (
	tableEntries = 512
	tableFlags   = 0x67
)

// task returns a task by its pid.
func (im *Image) task(pid int) (*linux.Task, error) {
	list, err := im.tasks()
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		if t.PID == pid && !t.Idle {
			return t, nil
		}
	}
	return nil, fmt.Errorf("there is no task %d", pid)
}

func (im *Image) tasks() ([]*linux.Task, error) {
	list, err := im.Kernel.Tasks(context.Background())
	if err != nil {
		return nil, err
	}
	return list.All, nil
}

// table returns the page table at a physical address.
func (im *Image) table(phys uint64) ([]byte, error) {
	if phys+8*tableEntries > uint64(len(im.RAM)) {
		return nil, fmt.Errorf("there is no page table at phys %#x", phys)
	}
	return im.RAM[phys:][:8*tableEntries], nil
}

// userRoot returns the top-level page table of process 1 and its physical address.
func userRoot(im *Image) ([]byte, uint64, error) {
	t, err := im.task(1)
	if err != nil {
		return nil, 0, err
	}
	pgd, err := im.Pointer(t.MM, [2]string{"mm_struct", "pgd"})
	if err != nil {
		return nil, 0, err
	}
	phys := pgd - im.direct
	table, err := im.table(phys)
	return table, phys, err
}

func userTableInACircle(im *Image) error {
	table, phys, err := userRoot(im)
	for i := range tableEntries / 2 {
		if err == nil {
			binary.LittleEndian.PutUint64(table[8*i:], phys|tableFlags)
		}
	}
	return err
}

func kernelTableInACircle(im *Image) error {
	phys := uint64(im.Kernel.Space.Root().Table())
	table, err := im.table(phys)
	if err != nil {
		return err
	}
	for i := range tableEntries {
		if entry := table[8*i:]; binary.LittleEndian.Uint64(entry) == 0 {
			binary.LittleEndian.PutUint64(entry, phys|tableFlags)
		}
	}
	return nil
}

func tablesOutsideRAM(im *Image) error {
	const far, step = 0xf_f000_0000_0000 >> 4, 0x1000
	table, _, err := userRoot(im)
	for i := range tableEntries / 2 {
		if err == nil {
			binary.LittleEndian.PutUint64(table[8*i:], far+uint64(i)*step|tableFlags)
		}
	}
	return err
}

func rootsOutsideRAM(im *Image) error {
	tasks, err := im.tasks()
	errs := []error{err}
	for _, t := range tasks {
		if t.MM != 0 {
			errs = append(errs, im.PutMember(t.MM, "mm_struct", "pgd", im.direct+uint64(len(im.RAM))+1<<30))
		}
	}
	return errors.Join(errs...)
}

func modulesInACircle(im *Image) error {
	head, err := im.Addr("modules")
	if err != nil {
		return err
	}
	first, err := im.Get64(head)
	if err != nil {
		return err
	}
	second, err := im.Get64(first)
	if err != nil {
		return err
	}
	return errors.Join(im.Put64(second, first), im.Put64(first+8, second))
}

func programsInACircle(im *Image) error {
	head, err := im.Addr("bpf_kallsyms")
	if err != nil {
		return err
	}
	text, err := im.Addr("_text")
	if err != nil {
		return err
	}
	o, err := im.Offsets("bpf_ksym", "start", "end", "name", "lnode.next")
	if err != nil {
		return err
	}
	at, _, err := im.Alloc(4096)
	if err != nil {
		return err
	}
	return errors.Join(im.Put64(at+o[0], text), im.Put64(at+o[1], text+64), im.Write(at+o[2], []byte("bpf_prog")),
		im.Put64(at+o[3], at+o[3]), im.Put64(head, at+o[3]))
}

func pidsInACircle(im *Image) error {
	ns, err := im.Addr("init_pid_ns")
	if err != nil {
		return err
	}
	head, err := im.Pointer(ns, [2]string{"pid_namespace", "idr.idr_rt.xa_head"})
	if err != nil {
		return err
	}
	node := head &^ 3
	o, err := im.Offsets("xa_node", "shift", "slots")
	if err != nil {
		return err
	}
	const slots, largest = 64, 60
	errs := []error{im.Write(node+o[0], []byte{largest})}
	for i := range uint64(slots) {
		errs = append(errs, im.Put64(node+o[1]+8*i, head))
	}
	return errors.Join(errs...)
}

func parentsInACircle(im *Image) error {
	tasks, err := im.tasks()
	errs := []error{err}
	for _, t := range tasks {
		errs = append(errs, im.PutMember(t.Addr, "task_struct", "real_parent", t.Addr))
	}
	return errors.Join(errs...)
}

// eachFile calls visit with each process's table of open files, and with the first files in it.
func eachFile(im *Image, visit func(table uint64, files []uint64) error) error {
	tasks, err := im.tasks()
	if err != nil {
		return err
	}
	const most = 8
	visited := 0
	for _, t := range tasks {
		table, err := im.Pointer(t.Addr, [2]string{"task_struct", "files"}, [2]string{"files_struct", "fdt"})
		if err != nil || t.Kernel {
			continue
		}
		array, err := im.Pointer(table, [2]string{"fdtable", "fd"})
		if err != nil {
			return err
		}
		var files []uint64
		for i := range uint64(most) {
			if file, err := im.Get64(array + 8*i); err == nil && file != 0 {
				files = append(files, file)
			}
		}
		visited += len(files)
		if err := visit(table, files); err != nil {
			return err
		}
	}
	if visited == 0 {
		return errors.New("no process has an open file")
	}
	return nil
}

func dentriesInACircle(im *Image) error {
	return eachFile(im, func(_ uint64, files []uint64) error {
		for _, file := range files {
			dentry, err := im.Pointer(file, [2]string{"file", "f_path.dentry"})
			if err != nil {
				return err
			}
			parent, err := im.Pointer(dentry, [2]string{"dentry", "d_parent"})
			if err != nil {
				return err
			}
			if err := errors.Join(im.PutMember(parent, "dentry", "d_parent", dentry), im.PutMember(dentry, "dentry", "d_parent", parent),
				im.PutMember(dentry, "dentry", "d_name.len", 1<<32-1)); err != nil {
				return err
			}
		}
		return nil
	})
}

func manyFiles(im *Image) error {
	const pages = 16 << 20 >> 12
	array, ram, err := im.Alloc(pages << 12)
	if err != nil {
		return err
	}
	return eachFile(im, func(table uint64, files []uint64) error {
		for i := 0; i+8 <= len(ram) && len(files) > 0; i += 8 {
			binary.LittleEndian.PutUint64(ram[i:], files[i/8%len(files)])
		}
		return errors.Join(im.PutMember(table, "fdtable", "max_fds", 1<<31-1), im.PutMember(table, "fdtable", "fd", array))
	})
}

func resourcesInACircle(im *Image) error {
	root, err := im.Addr("iomem_resource")
	if err != nil {
		return err
	}
	first, err := im.Pointer(root, [2]string{"resource", "child"})
	if err != nil {
		return err
	}
	return errors.Join(im.PutMember(first, "resource", "sibling", first), im.PutMember(first, "resource", "child", first))
}

func manyResources(im *Image) error {
	const count, step = 1 << 20, 64 // bytes between
	root, err := im.Addr("iomem_resource")
	if err != nil {
		return err
	}
	o, err := im.Offsets("resource", "start", "end", "sibling")
	if err != nil {
		return err
	}
	at, ram, err := im.Alloc(count*step + 4096)
	if err != nil {
		return err
	}
	for i := range uint64(count) {
		p := ram[i*step:]
		binary.LittleEndian.PutUint64(p[o[0]:], i<<12)
		binary.LittleEndian.PutUint64(p[o[1]:], i<<12|0xfff)
		binary.LittleEndian.PutUint64(p[o[2]:], at+(i+1)*step)
	}
	return im.PutMember(root, "resource", "child", at)
}
