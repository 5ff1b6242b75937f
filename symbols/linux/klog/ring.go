package klog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// The log consists of three rings (kernel/printk/printk_ringbuffer.c): descriptors, infos
// (attributes of messages), and texts. The low bits of an id are the index of a descriptor and its
// info; a text is found by its logical position. Ids and positions only increase. The state word of
// a descriptor has its id in the low bits and its state in the upper two.
const (
	stateShift = 62
	idMask     = 1<<stateShift - 1

	// States. 1 and 2 are complete messages; the caller may still append to a message in state 1.
	reserved = 0 // being written
	reusable = 3 // dropped to make room

	// Logical positions of messages without text.
	failed    = 1 // there was no room for the text
	noText    = 1 // bit 0: no text
	blockHead = 8 // bytes: the id of the descriptor, before each text

	// Bit-fields of struct printk_info in the byte after facility: flags:5, level:3.
	flagCont   = 8 // LOG_CONT
	levelShift = 5
)

// chunk is how many records are read at once.
const chunk = 4096

// The largest rings: LOG_BUF_LEN_MAX is 1<<31 bytes of text, and there is a descriptor for each 32
// of them.
const (
	maxTextBits  = 31
	maxCountBits = maxTextBits - 5
)

// Limits of what is kept of a log.
const (
	maxRecords    = 1 << 18
	maxBytes      = 64 << 20  // of all texts
	maxRecordText = 1<<16 - 1 // bytes of one text: printk_info.text_len has 16 bits
)

// ring reads the log from its newest record backwards.
type ring struct {
	k *linux.Kernel

	desc *kmem.Struct[descriptor]
	info *kmem.Struct[recordInfo]

	descs, infos, text  uint64 // addresses of the rings
	countBits, textBits uint

	next     uint64 // id of the next record to read
	left     uint64 // number of records from it to the oldest
	textLeft uint64 // bytes of text that further records may have: texts do not overlap

	found  []Record // newest first
	damage kmem.Damage
}

// ringHead is struct printk_ringbuffer.
type ringHead struct {
	CountBits uint64 `c:"desc_ring.count_bits"`
	Descs     uint64 `c:"desc_ring.descs"`
	Infos     uint64 `c:"desc_ring.infos"`
	Head      uint64 `c:"desc_ring.head_id"`
	Tail      uint64 `c:"desc_ring.tail_id"`
	TextBits  uint64 `c:"text_data_ring.size_bits"`
	Text      uint64 `c:"text_data_ring.data"`
}

// descriptor is struct prb_desc.
type descriptor struct {
	State uint64 `c:"state_var"`
	Begin uint64 `c:"text_blk_lpos.begin"`
	Next  uint64 `c:"text_blk_lpos.next"`
}

// recordInfo is struct printk_info. The byte after facility has bit-fields, which the types of some
// kernels do not list.
type recordInfo struct {
	Seq       uint64 `c:"seq"`
	Time      uint64 `c:"ts_nsec"`
	TextLen   uint64 `c:"text_len"`
	Facility  uint8  `c:"facility"`
	Caller    uint32 `c:"caller_id"`
	Subsystem string `c:"?dev_info.subsystem" max:"16"` // PRINTK_INFO_SUBSYSTEM_LEN, include/linux/dev_printk.h
	Device    string `c:"?dev_info.device" max:"48"`    // PRINTK_INFO_DEVICE_LEN
}

// openRing finds the rings through prb, which points to those in use: with log_buf_len= the kernel
// allocates larger ones during boot.
func openRing(ctx context.Context, k *linux.Kernel) (*ring, error) {
	if _, ok := k.Addr("prb"); !ok {
		if _, old := k.Addr("log_first_idx"); old {
			return nil, errNoRing
		}
	}
	prb, err := k.ReadSymbol(ctx, "prb", 8)
	if err != nil {
		return nil, err
	}
	types, err := typesOf(ctx, k)
	if err != nil {
		return nil, err
	}
	layout, err := kmem.NewStruct[ringHead](types, "printk_ringbuffer")
	if err != nil {
		return nil, err
	}
	r := &ring{k: k}
	if r.desc, err = kmem.NewStruct[descriptor](types, "prb_desc"); err != nil {
		return nil, err
	}
	if r.info, err = kmem.NewStruct[recordInfo](types, "printk_info"); err != nil {
		return nil, err
	}
	if err := r.checkTypes(); err != nil {
		return nil, err
	}
	head, err := layout.ReadOne(ctx, k.Space, prb)
	if err != nil {
		return nil, err
	}
	return r, r.begin(head)
}

// checkTypes rejects damaged type information: thousands of these structs are read, and facility is
// followed by another byte.
func (r *ring) checkTypes() error {
	const maxSize = 1 << 12 // bytes
	if r.desc.Size() > maxSize || r.info.Size() > maxSize || r.info.Offset("Facility")+1 >= r.info.Size() {
		return errors.New("this kernel's types: struct prb_desc or printk_info is damaged")
	}
	return nil
}

// begin sets the addresses and sizes of the rings.
func (r *ring) begin(head *ringHead) error {
	countBits, textBits := head.CountBits, head.TextBits
	if countBits == 0 || countBits > maxCountBits || textBits == 0 || textBits > maxTextBits {
		return fmt.Errorf("it has 2^%d records and 2^%d bytes of text: damaged memory", countBits, textBits)
	}
	r.countBits, r.textBits = uint(countBits), uint(textBits)
	r.descs, r.infos, r.text = head.Descs, head.Infos, head.Text
	r.next = head.Head & idMask
	r.left = (r.next-head.Tail)&idMask + 1
	r.textLeft = min(uint64(1)<<textBits, maxBytes)
	if count := r.count(); r.left > count {
		r.damage.Add("the oldest and the newest record are %d apart, in a ring of %d", r.left, count)
		r.left = count
	}
	return nil
}

func (r *ring) count() uint64 { return 1 << r.countBits }

// exhausted reports whether there are no older records.
func (r *ring) exhausted() bool { return r.left == 0 }

// textBlock is the place of a text in its ring, and the record that it belongs to.
type textBlock struct {
	record int    // index in ring.found
	id     uint64 // that must precede the text
	at     uint64 // offset of the id in the ring of texts
	size   int    // bytes of text
}

// readOlder reads up to want older records in two batches.
func (r *ring) readOlder(ctx context.Context, want int) error {
	if len(r.found) > maxRecords {
		r.damage.Add("there are more than %d records, of which the newest are shown: damaged, or too many", maxRecords)
		r.left = 0
		return nil
	}
	n := min(uint64(want), r.left)
	first := (r.next - n + 1) & idMask // the ids are first to r.next
	descs, err := r.readSlots(ctx, first, n)
	if err != nil {
		return err
	}
	if empty, err := descs.Empty(); empty {
		r.damage.Add("record %d and %d before it: %w", r.seq(r.next), r.left-1, err)
		r.left = 0
		return nil
	}
	start := len(r.found)
	var texts []textBlock
	for i := n; i > 0; i-- {
		if t, ok := r.decode(descs, int(i-1), (first+i-1)&idMask, int(n)); ok {
			texts = append(texts, t)
		}
	}
	r.next = (first - 1) & idMask
	r.left -= n
	return r.readTexts(ctx, texts, start)
}

// readSlots reads n descriptors, from the id first on, and their infos.
func (r *ring) readSlots(ctx context.Context, first, n uint64) (*kmem.Sparse, error) {
	slot := first % r.count()
	tail := min(n, r.count()-slot) // up to the end of the ring; the rest begins at slot 0
	var spans []kmem.Span
	for _, ring := range []struct{ addr, size uint64 }{{r.descs, r.desc.Size()}, {r.infos, r.info.Size()}} {
		spans = append(spans, kmem.Span{Addr: ring.addr + slot*ring.size, Size: int(tail * ring.size)})
		if tail < n {
			spans = append(spans, kmem.Span{Addr: ring.addr, Size: int((n - tail) * ring.size)})
		}
	}
	return kmem.ReadSparse(ctx, r.k.Space, spans...)
}

// seq returns the low 32 bits of the number of the message with an id. Both count messages; ids
// begin one round before 0 in 32 bits (DESC0_ID).
func (r *ring) seq(id uint64) uint32 { return uint32(id + r.count()) }

// decode decodes the i-th of n slots. A message is added to found; if it has text, decode returns
// the place of the text.
func (r *ring) decode(slots *kmem.Sparse, i int, id uint64, n int) (textBlock, bool) {
	seq := r.seq(id)
	descSize, infoSize := int(r.desc.Size()), int(r.info.Size())
	whole, err := slots.Part(i*descSize, descSize)
	if err != nil {
		r.damage.Add("record %d: %w", seq, err)
		return textBlock{}, false
	}
	desc := r.desc.Decode(whole)
	if desc.State&idMask != id {
		r.damage.Add("record %d: its place holds another (%#x): it was never written, or memory is damaged", seq, desc.State)
		return textBlock{}, false
	}
	switch desc.State >> stateShift {
	case reusable:
		return textBlock{}, false // the kernel has dropped it
	case reserved:
		r.damage.Add("record %d: was being written when the machine died", seq)
		return textBlock{}, false
	}
	whole, err = slots.Part(n*descSize+i*infoSize, infoSize)
	if err != nil {
		r.damage.Add("record %d: %w", seq, err)
		return textBlock{}, false
	}
	info := r.info.Decode(whole)
	if uint32(info.Seq) != seq {
		r.damage.Add("record %d: says that it is record %d", seq, info.Seq)
		return textBlock{}, false
	}
	return r.locate(&desc, info.TextLen, id, info.record(whole[r.info.Offset("Facility")+1]))
}

// locate adds a message to found, and returns the place of its text if it has any.
func (r *ring) locate(desc *descriptor, size, id uint64, record Record) (textBlock, bool) {
	begin, next := desc.Begin, desc.Next
	seq := r.seq(id)
	if begin&noText != 0 && next&noText != 0 {
		if begin == failed {
			r.damage.Add("record %d: the log had no room for its text", seq)
			return textBlock{}, false
		}
		r.found = append(r.found, record) // an empty line
		return textBlock{}, false
	}
	at, room, ok := r.block(begin, next)
	if !ok || size > min(room, maxRecordText) {
		r.damage.Add("record %d: %d bytes of text from position %#x to %#x: damaged", seq, size, begin, next)
		return textBlock{}, false
	}
	if size > r.textLeft {
		r.damage.Add("record %d: its text and those of later records are more than the log can hold, or than is read: damaged", seq)
		return textBlock{}, false
	}
	r.textLeft -= size
	r.found = append(r.found, record)
	return textBlock{record: len(r.found) - 1, id: id, at: at, size: int(size)}, true
}

// block returns the offset of a block in the ring of texts, and its size without the id. A block
// that does not fit before the end of the ring is at its beginning; next is then in the round after
// that of begin. From 6.19 on, a block may reach up to the end.
func (r *ring) block(begin, next uint64) (at, room uint64, ok bool) {
	ring := uint64(1) << r.textBits
	switch {
	case (begin|next)%blockHead != 0:
		return 0, 0, false
	case begin < next && begin>>r.textBits == (next-1)>>r.textBits:
		at, room = begin%ring, next-begin
	case (begin+ring)>>r.textBits == next>>r.textBits:
		at, room = 0, next%ring
	}
	if room < blockHead {
		return 0, 0, false
	}
	return at, room - blockHead, true
}

// record returns all of a message except its text. bits is the byte after facility.
func (i *recordInfo) record(bits byte) Record {
	return Record{
		Seq:       i.Seq,
		Time:      time.Duration(i.Time),
		Level:     bits >> levelShift,
		Facility:  i.Facility,
		Caller:    Caller(i.Caller),
		Continued: bits&flagCont != 0,
		Subsystem: i.Subsystem,
		Device:    i.Device,
	}
}

// maxTextGap is the largest distance of texts that are read in one piece, in bytes.
const maxTextGap = 512

// readTexts sets the texts of found, and removes records from start on whose text cannot be read.
func (r *ring) readTexts(ctx context.Context, texts []textBlock, start int) error {
	slices.SortFunc(texts, func(a, b textBlock) int { return cmp.Compare(a.at, b.at) })
	var spans []kmem.Span
	places := make([]int, len(texts)) // offset of each in the bytes that are read
	total := 0
	for i, t := range texts {
		begin, end := r.text+t.at, r.text+t.at+blockHead+uint64(t.size)
		last := len(spans) - 1
		if last < 0 || begin > spans[last].Addr+uint64(spans[last].Size)+maxTextGap {
			spans = append(spans, kmem.Span{Addr: begin})
			last++
		}
		s := &spans[last]
		places[i] = total + int(begin-s.Addr)
		s.Size = max(s.Size, int(end-s.Addr))
		if i+1 == len(texts) || r.text+texts[i+1].at > s.Addr+uint64(s.Size)+maxTextGap {
			total += s.Size
		}
	}
	read, err := kmem.ReadSparse(ctx, r.k.Space, spans...)
	if err != nil {
		return err
	}
	var lost []int
	for i, t := range texts {
		if err := r.fill(read, t, places[i]); err != nil {
			r.damage.Add("record %d: %w", r.found[t.record].Seq, err)
			lost = append(lost, t.record)
		}
	}
	r.drop(lost, start)
	return nil
}

// fill sets the text of a message, which is at offset place of the bytes that were read.
func (r *ring) fill(read *kmem.Sparse, t textBlock, place int) error {
	block, err := read.Part(place, blockHead+t.size)
	if err != nil {
		return err
	}
	if owner := binary.LittleEndian.Uint64(block); owner != t.id {
		return fmt.Errorf("its text belongs to another record, or was overwritten (id %#x, want %#x)", owner, t.id)
	}
	r.found[t.record].Text = string(block[blockHead:])
	return nil
}

// drop removes records, whose indexes are start or larger, from found.
func (r *ring) drop(lost []int, start int) {
	if len(lost) == 0 {
		return
	}
	gone := make(map[int]bool, len(lost))
	for _, i := range lost {
		gone[i] = true
	}
	kept := r.found[:start]
	for i := start; i < len(r.found); i++ {
		if !gone[i] {
			kept = append(kept, r.found[i])
		}
	}
	r.found = kept
}
