package hostile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
)

// put32 writes a number at a symbol.
func put32(im *Image, name string, v uint32) error {
	at, err := im.Addr(name)
	if err != nil {
		return err
	}
	return im.Put32(at, v)
}

// between returns the memory of the kernel's image between two symbols. The image is contiguous in
// RAM.
func between(im *Image, first, last string) ([]byte, error) {
	start, err1 := im.Addr(first)
	stop, err2 := im.Addr(last)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	p, err := im.image(start)
	if err != nil {
		return nil, err
	}
	if start >= stop || stop-start > uint64(len(p)) {
		return nil, fmt.Errorf("%s at %#x is not before %s at %#x", first, start, last, stop)
	}
	return p[:stop-start], nil
}

// vmcoreinfo returns the text of VMCOREINFO and the address of its note.
func vmcoreinfo(im *Image) (text []byte, note uint64, err error) {
	data, err1 := im.Addr("vmcoreinfo_data")
	size, err2 := im.Addr("vmcoreinfo_size")
	pointer, err3 := im.Addr("vmcoreinfo_note")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, 0, err
	}
	at, err1 := im.Get64(data)
	n, err2 := im.Get64(size)
	note, err3 = im.Get64(pointer)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, 0, err
	}
	page, err := im.At(at)
	if err != nil || n > uint64(len(page)) {
		return nil, 0, fmt.Errorf("VMCOREINFO has %d bytes: %w", n, err)
	}
	return page[:n], note, nil
}

// copiesOf returns the copies of the text of VMCOREINFO in memory.
func (im *Image) copiesOf(text []byte) (copies [][]byte) {
	for rest := im.RAM; ; {
		i := bytes.Index(rest, text)
		if i < 0 {
			return copies
		}
		copies = append(copies, rest[i:i+len(text)])
		rest = rest[i+len(text):]
	}
}

var numberOfVMCoreInfo = regexp.MustCompile(`=-?[0-9a-f]+\n`)

func falseVMCoreInfo(im *Image) error {
	text, _, err := vmcoreinfo(im)
	if err != nil {
		return err
	}
	for _, p := range im.copiesOf(bytes.Clone(text)) {
		for _, m := range numberOfVMCoreInfo.FindAllIndex(p, -1) {
			for i := m[0] + 1; i < m[1]-1; i++ {
				p[i] = 'f'
			}
		}
	}
	return nil
}

func endlessVMCoreInfo(im *Image) error {
	text, note, err := vmcoreinfo(im)
	if err != nil {
		return err
	}
	for _, p := range im.copiesOf(bytes.Clone(text)) {
		copy(p[len("OSRELEASE="):], bytes.Repeat([]byte("A"), len(p)))
	}
	const descriptionSize = 4 // offset of n_descsz in an ELF note
	return im.Put32(note+descriptionSize, 1<<31)
}

func tokensOutside(im *Image) error {
	index, err := im.Addr("kallsyms_token_index")
	if err != nil {
		return err
	}
	table, err := im.Addr("kallsyms_token_table")
	if err != nil {
		return err
	}
	// The digits, by which the table is found, are unchanged; the first tokens have no terminator.
	p, err := im.image(table)
	if err != nil {
		return err
	}
	digits := bytes.Index(p[:index-table], []byte("0\x001\x002\x00"))
	if digits < 0 {
		return errors.New("the token table has no digits")
	}
	for i := range digits - 1 {
		p[i] = 'T'
	}
	return nil
}

func longKallsymsNames(im *Image) error {
	names, err := between(im, "kallsyms_names", "kallsyms_markers")
	if err != nil {
		return err
	}
	const part = 64 << 10 // bytes of unchanged names, so that the table is found
	for i := part; i < len(names); i++ {
		names[i] = 0xff
	}
	return nil
}

func oneAddress(im *Image) error {
	start, err := im.Addr("kallsyms_offsets")
	if err != nil {
		return err
	}
	p, err := im.image(start)
	if err != nil {
		return err
	}
	count, err := im.Addr("kallsyms_num_syms")
	if err != nil {
		return err
	}
	n, err := im.At(count)
	if err != nil {
		return err
	}
	first := binary.LittleEndian.Uint32(p)
	for i := range binary.LittleEndian.Uint32(n) {
		binary.LittleEndian.PutUint32(p[4*i:], first)
	}
	return nil
}

func framesWithoutEnd(im *Image) error {
	entries, err := between(im, "__start_orc_unwind", "__stop_orc_unwind")
	const size = 6 // bytes of struct orc_entry (arch/x86/include/asm/orc_types.h): sp_offset, bp_offset, bits
	for i := 0; i+size <= len(entries); i += size {
		binary.LittleEndian.PutUint16(entries[i:], 0)
	}
	return err
}

func unsortedORC(im *Image) error {
	ips, err := between(im, "__start_orc_unwind_ip", "__stop_orc_unwind_ip")
	for i := 4; i+4 <= len(ips); i += 4 {
		// Each is relative to its own address: all refer to the address of the first.
		binary.LittleEndian.PutUint32(ips[i:], binary.LittleEndian.Uint32(ips)-uint32(i))
	}
	return err
}

func deepStacks(im *Image) error {
	code, err := im.Addr("schedule")
	if err != nil {
		return err
	}
	tasks, err := im.tasks()
	errs := []error{err}
	for _, t := range tasks {
		// The lowest word is the kernel's magic number.
		for at := t.Stack + 8; at+16 <= t.StackEnd(); at += 16 {
			errs = append(errs, im.Put64(at, code+16, at+16))
		}
	}
	return errors.Join(errs...)
}

func wildStacks(im *Image) error {
	tasks, err := im.tasks()
	errs := []error{err}
	for i, t := range tasks {
		places := []uint64{t.Addr, 0, ^uint64(7), im.direct + uint64(len(im.RAM)) - 8, 0x8000000000000000}
		errs = append(errs, im.PutMember(t.Addr, "task_struct", "thread.sp", places[i%len(places)]))
	}
	return errors.Join(errs...)
}

// eachModule calls visit with the address of each struct module.
func eachModule(im *Image, visit func(md uint64) error) error {
	head, err := im.Addr("modules")
	if err != nil {
		return err
	}
	o, err := im.Offsets("module", "list")
	if err != nil {
		return err
	}
	node, err := im.Get64(head)
	if err == nil && node == head {
		err = errors.New("the kernel has no modules")
	}
	for err == nil && node != head {
		if err = visit(node - o[0]); err == nil {
			node, err = im.Get64(node)
		}
	}
	return err
}

func largeModules(im *Image) error {
	memory, err := memoryOfModules(im)
	if err != nil {
		return err
	}
	return eachModule(im, func(md uint64) error {
		var errs []error
		for _, m := range memory {
			errs = append(errs, im.Put32(md+m.size, ^uint32(0)))
		}
		return errors.Join(errs...)
	})
}

func endlessSections(im *Image) error {
	const pages = 1 << 10
	at, ram, err := im.Alloc(pages << 12)
	if err != nil {
		return err
	}
	for i := 0; i+8 <= len(ram); i += 8 { // all pointers are equal, and all numbers are large
		binary.LittleEndian.PutUint64(ram[i:], at)
	}
	return eachModule(im, func(md uint64) error { return im.PutMember(md, "module", "sect_attrs", at) })
}

func nameModules(im *Image, name string) error {
	o, err := im.Offsets("module", "name")
	if err != nil {
		return err
	}
	return eachModule(im, func(md uint64) error { return im.Write(md+o[0], append([]byte(name), 0)) })
}

func evilModuleNames(im *Image) error {
	return nameModules(im, "../../\x1b]0;owned\x07\x9b2J\u202e")
}

func modulesOfOneName(im *Image) error { return nameModules(im, "../trouble") }

func wildPerCPU(im *Image) error {
	at, err := im.Addr("__per_cpu_offset")
	if err != nil {
		return err
	}
	const most = 64
	var errs []error
	for i := range uint64(most) {
		errs = append(errs, im.Put64(at+8*i, 0x7fff_ffff_0000_0000+i))
	}
	return errors.Join(errs...)
}

// evilText has characters with an effect on a terminal, an editor or a browser.
const evilText = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2028\u009b\x7f\x08\r\x00"

func evilComms(im *Image) error {
	o, err := im.Offsets("task_struct", "comm")
	if err != nil {
		return err
	}
	names := []string{"\x1b]0;owned\x07", "\x1b[2J\x9b31m", "\u202eevil\u2028", "\u009b\x7f\x08\r\n<&>\""}
	tasks, err := im.tasks()
	errs := []error{err}
	for i, t := range tasks {
		comm := make([]byte, 16)
		copy(comm[:15], names[i%len(names)])
		errs = append(errs, im.Write(t.Addr+o[0], comm))
	}
	return errors.Join(errs...)
}

func evilRelease(im *Image) error {
	ns, err := im.Addr("init_uts_ns")
	if err != nil {
		return err
	}
	o, err := im.Offsets("uts_namespace", "name.release")
	if err != nil {
		return err
	}
	release := "6.1/../../" + evilText
	text, _, err := vmcoreinfo(im)
	if err != nil {
		return err
	}
	for _, p := range im.copiesOf(bytes.Clone(text)) {
		if line, _, ok := bytes.Cut(p, []byte("\n")); ok {
			copy(line[len("OSRELEASE="):], release)
		}
	}
	return im.Write(ns+o[0], []byte(release))
}

func evilBanner(im *Image) error {
	banner, err := im.Addr("linux_banner")
	if err != nil {
		return err
	}
	const start = len("Linux version ")
	return im.Write(banner+uint64(start), []byte("6.1"+evilText[:len(evilText)-1]))
}

// logRings returns the parts of the log: its descriptors, their infos, and its text.
func logRings(im *Image) (descs, infos, text []byte, err error) {
	prb, err := im.Addr("prb")
	if err != nil {
		return nil, nil, nil, err
	}
	ring, err := im.Get64(prb)
	if err != nil {
		return nil, nil, nil, err
	}
	const name = "printk_ringbuffer"
	count, err1 := im.Offsets(name, "desc_ring.count_bits", "text_data_ring.size_bits")
	descSize, err2 := im.Types.Size("prb_desc")
	infoSize, err3 := im.Types.Size("printk_info")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, nil, err
	}
	bits, err1 := im.Get64(ring + count[0])
	textBits, err2 := im.Get64(ring + count[1])
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, nil, err
	}
	n := uint64(1) << (bits & 31)
	for _, part := range []struct {
		to     *[]byte
		member string
		size   uint64
	}{{&descs, "desc_ring.descs", n * descSize}, {&infos, "desc_ring.infos", n * infoSize},
		{&text, "text_data_ring.data", 1 << (textBits & 31)}} {
		at, err := im.Pointer(ring, [2]string{name, part.member})
		if err != nil {
			return nil, nil, nil, err
		}
		p, err := im.image(at)
		if err != nil || part.size > uint64(len(p)) {
			return nil, nil, nil, fmt.Errorf("%s has %d bytes: %w", part.member, part.size, err)
		}
		*part.to = p[:part.size]
	}
	return descs, infos, text, nil
}

func evilLog(im *Image) error {
	_, _, text, err := logRings(im)
	const header = 8 // bytes, the id before each text
	for i := 0; i < len(text); i++ {
		// Text consists of printable characters, like all messages of the kernel itself.
		if text[i] >= ' ' && text[i] < 0x7f && i >= header {
			text[i] = evilText[i%(len(evilText)-1)]
		}
	}
	return err
}

func wildRecords(im *Image) error {
	descs, infos, _, err := logRings(im)
	if err != nil {
		return err
	}
	o, err := im.Offsets("prb_desc", "text_blk_lpos.begin", "text_blk_lpos.next")
	if err != nil {
		return err
	}
	length, err := im.Offsets("printk_info", "text_len")
	if err != nil {
		return err
	}
	descSize, err1 := im.Types.Size("prb_desc")
	infoSize, err2 := im.Types.Size("printk_info")
	for i := uint64(0); i+descSize <= uint64(len(descs)); i += descSize {
		binary.LittleEndian.PutUint64(descs[i+o[0]:], 8*i)
		binary.LittleEndian.PutUint64(descs[i+o[1]:], 8*i-16)
	}
	for i := uint64(0); i+infoSize <= uint64(len(infos)); i += infoSize {
		binary.LittleEndian.PutUint16(infos[i+length[0]:], ^uint16(0))
	}
	return errors.Join(err1, err2)
}
