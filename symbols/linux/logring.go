package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The log is three rings (kernel/printk/printk_ringbuffer.c): descriptors, what is told about a message (infos), and its
// text. A descriptor and an info are found by the low bits of an id that only ever grows; a text by its logical position,
// which only ever grows too. A descriptor's word holds its id and, above, its state.
const (
	logStateShift = 62
	logIDMask     = 1<<logStateShift - 1

	// The states. 1 and 2 are messages that are complete (to the first its caller may still add).
	logReserved = 0 // being written
	logReusable = 3 // given up to make room

	// Logical positions of texts that are none.
	logFailed    = 1 // there was no room for it
	logNoText    = 1 // bit 0: any of them
	logBlockHead = 8 // bytes: each text begins with the id of its descriptor

	// The bits of struct printk_info that no type tells: flags:5, level:3 in the byte behind facility.
	logFlagCont   = 8 // LOG_CONT
	logLevelShift = 5
)

// logChunk bounds how many records are read at once.
const logChunk = 4096

// The largest rings: LOG_BUF_LEN_MAX is 1<<31 bytes of text, and there is a descriptor for each 32 of them.
const (
	mostLogTextBits  = 31
	mostLogCountBits = mostLogTextBits - 5
)

// Bounds of what is kept of a log.
const (
	mostLogRecords = 1 << 18
	mostLogBytes   = 64 << 20  // of all texts
	mostLogText    = 1<<16 - 1 // bytes of one: printk_info.text_len has 16 bits
)

// logRing reads the log from its newest record backwards.
type logRing struct {
	k *Kernel

	desc       *layout
	descFields logDescFields
	info       *layout
	infoFields logInfoFields

	descs, infos, text  uint64 // where the rings begin
	countBits, textBits uint

	next     uint64 // id of the record to be read next
	left     uint64 // how many there are from it back to the oldest
	textLeft uint64 // bytes of text that still may be, as no two texts share any

	found  []LogRecord // newest first
	damage damage
}

type logHeadFields struct {
	CountBits member `c:"desc_ring.count_bits"`
	Descs     member `c:"desc_ring.descs"`
	Infos     member `c:"desc_ring.infos"`
	Head      member `c:"desc_ring.head_id"`
	Tail      member `c:"desc_ring.tail_id"`
	TextBits  member `c:"text_data_ring.size_bits"`
	Text      member `c:"text_data_ring.data"`
}

type logDescFields struct {
	State member `c:"state_var"`
	Begin member `c:"text_blk_lpos.begin"`
	Next  member `c:"text_blk_lpos.next"`
}

type logInfoFields struct {
	Seq       member `c:"seq"`
	Time      member `c:"ts_nsec"`
	TextLen   member `c:"text_len"`
	Facility  member `c:"facility"`
	Caller    member `c:"caller_id"`
	Subsystem member `c:"?dev_info.subsystem" max:"16"` // PRINTK_INFO_SUBSYSTEM_LEN, include/linux/dev_printk.h
	Device    member `c:"?dev_info.device" max:"48"`    // PRINTK_INFO_DEVICE_LEN
}

// logRing finds the rings. prb leads to those in use: the kernel moves to larger ones when it boots with log_buf_len=.
func (k *Kernel) logRing(ctx context.Context) (*logRing, error) {
	if _, ok := k.Addr("prb"); !ok {
		if _, old := k.Addr("log_first_idx"); old {
			return nil, errNoRing
		}
	}
	prb, err := k.readSymbol(ctx, "prb", 8)
	if err != nil {
		return nil, err
	}
	types, err := k.logTypes(ctx)
	if err != nil {
		return nil, err
	}
	var f logHeadFields
	l, err := newLayout(types, "printk_ringbuffer", &f)
	if err != nil {
		return nil, err
	}
	r := &logRing{k: k}
	if r.desc, err = newLayout(types, "prb_desc", &r.descFields); err != nil {
		return nil, err
	}
	if r.info, err = newLayout(types, "printk_info", &r.infoFields); err != nil {
		return nil, err
	}
	if err := r.checkTypes(); err != nil {
		return nil, err
	}
	head, err := l.readOne(ctx, k.Space, prb)
	if err != nil {
		return nil, err
	}
	return r, r.begin(&f, head)
}

// checkTypes refuses types that were read from damaged memory: there are thousands of each, and behind facility there is
// another byte.
func (r *logRing) checkTypes() error {
	const most = 1 << 12 // bytes
	if r.desc.size > most || r.info.size > most || r.infoFields.Caller.Offset <= r.infoFields.Facility.Offset+1 {
		return errors.New("this kernel's types: struct prb_desc or printk_info is damaged")
	}
	return nil
}

// begin takes the head of the rings.
func (r *logRing) begin(f *logHeadFields, head record) error {
	countBits, textBits := f.CountBits.uint(head), f.TextBits.uint(head)
	if countBits == 0 || countBits > mostLogCountBits || textBits == 0 || textBits > mostLogTextBits {
		return fmt.Errorf("it has 2^%d records and 2^%d bytes of text: damaged memory", countBits, textBits)
	}
	r.countBits, r.textBits = uint(countBits), uint(textBits)
	r.descs, r.infos, r.text = f.Descs.uint(head), f.Infos.uint(head), f.Text.uint(head)
	r.next = f.Head.uint(head) & logIDMask
	r.left = (r.next-f.Tail.uint(head))&logIDMask + 1
	r.textLeft = min(uint64(1)<<textBits, mostLogBytes)
	if count := r.count(); r.left > count {
		r.damage.add("the oldest and the newest record are %d apart, in a ring of %d", r.left, count)
		r.left = count
	}
	return nil
}

func (r *logRing) count() uint64 { return 1 << r.countBits }

// exhausted reports whether there are no older records.
func (r *logRing) exhausted() bool { return r.left == 0 }

// logText is where a text lies, and the record that it belongs to.
type logText struct {
	record int    // in logRing.found; its text is still missing
	id     uint64 // what must stand before it
	at     uint64 // in the ring of texts, of its head
	size   int    // bytes, without head
}

// readOlder reads the next older records, as many as are wanted if they are all there: two batches.
func (r *logRing) readOlder(ctx context.Context, want int) error {
	if len(r.found) > mostLogRecords {
		r.damage.add("there are more than %d records, of which the newest are shown: damaged, or too many", mostLogRecords)
		r.left = 0
		return nil
	}
	n := min(uint64(want), r.left)
	first := (r.next - n + 1) & logIDMask // the ids first to r.next, oldest first in memory
	descs, err := r.readSlots(ctx, first, n)
	if err != nil {
		return err
	}
	if empty, err := descs.empty(); empty {
		r.damage.add("record %d and %d before it: %w", r.seq(r.next), r.left-1, err)
		r.left = 0
		return nil
	}
	start := len(r.found)
	var texts []logText
	for i := n; i > 0; i-- {
		if t, ok := r.judge(descs, int(i-1), (first+i-1)&logIDMask, int(n)); ok {
			texts = append(texts, t)
		}
	}
	r.next = (first - 1) & logIDMask
	r.left -= n
	return r.readTexts(ctx, texts, start)
}

// readSlots reads n descriptors from the id first on, and then their infos.
func (r *logRing) readSlots(ctx context.Context, first, n uint64) (*patchwork, error) {
	slot := first % r.count()
	behind := min(n, r.count()-slot) // in one piece; the rest begins at slot 0
	var spans []span
	for _, ring := range []struct{ addr, size uint64 }{{r.descs, r.desc.size}, {r.infos, r.info.size}} {
		spans = append(spans, span{ring.addr + slot*ring.size, int(behind * ring.size)})
		if behind < n {
			spans = append(spans, span{ring.addr, int((n - behind) * ring.size)})
		}
	}
	return readPatchwork(ctx, r.k.Space, spans...)
}

// seq returns the number of the message with an id, or its low 32 bits: both count messages, and ids begin one round
// before 0 in 32 bits (DESC0_ID).
func (r *logRing) seq(id uint64) uint32 { return uint32(id + r.count()) }

// judge looks at the i-th of n slots that were read. If there is a message it goes to found; if that has text, judge
// tells where it lies.
func (r *logRing) judge(slots *patchwork, i int, id uint64, n int) (logText, bool) {
	seq := r.seq(id)
	whole, err := slots.part(i*int(r.desc.size), int(r.desc.size))
	if err != nil {
		r.damage.add("record %d: %w", seq, err)
		return logText{}, false
	}
	desc := r.desc.pick(whole)
	state := r.descFields.State.uint(desc)
	if state&logIDMask != id {
		r.damage.add("record %d: its place holds another (%#x): it was never written, or memory is damaged", seq, state)
		return logText{}, false
	}
	switch state >> logStateShift {
	case logReusable:
		return logText{}, false // dropped, as the kernel does with the oldest
	case logReserved:
		r.damage.add("record %d: was being written when the machine died", seq)
		return logText{}, false
	}
	whole, err = slots.part(n*int(r.desc.size)+i*int(r.info.size), int(r.info.size))
	if err != nil {
		r.damage.add("record %d: %w", seq, err)
		return logText{}, false
	}
	info := r.info.pick(whole)
	if has := r.infoFields.Seq.uint(info); uint32(has) != seq {
		r.damage.add("record %d: says that it is record %d", seq, has)
		return logText{}, false
	}
	return r.locate(desc, info, id)
}

// locate adds a message to found, and tells where its text lies if it has any.
func (r *logRing) locate(desc, info record, id uint64) (logText, bool) {
	begin, next := r.descFields.Begin.uint(desc), r.descFields.Next.uint(desc)
	size := r.infoFields.TextLen.uint(info)
	seq := r.seq(id)
	if begin&logNoText != 0 && next&logNoText != 0 {
		if begin == logFailed {
			r.damage.add("record %d: the log had no room for its text", seq)
			return logText{}, false
		}
		r.found = append(r.found, r.record(info)) // an empty line
		return logText{}, false
	}
	at, room, ok := r.block(begin, next)
	if !ok || size > min(room, mostLogText) {
		r.damage.add("record %d: %d bytes of text from position %#x to %#x: damaged", seq, size, begin, next)
		return logText{}, false
	}
	if size > r.textLeft {
		r.damage.add("record %d: its text and those of later records are more than the log can hold, or than is read: damaged", seq)
		return logText{}, false
	}
	r.textLeft -= size
	r.found = append(r.found, r.record(info))
	return logText{record: len(r.found) - 1, id: id, at: at, size: int(size)}, true
}

// block returns where the block of a text begins in the ring, and how many bytes it has for text. A block that does not
// fit before the end of the ring lies at its beginning, and next is then in the round after that of begin. Kernels from
// 6.19 on let a block reach right up to the end.
func (r *logRing) block(begin, next uint64) (at, room uint64, ok bool) {
	ring := uint64(1) << r.textBits
	switch {
	case (begin|next)%logBlockHead != 0:
		return 0, 0, false
	case begin < next && begin>>r.textBits == (next-1)>>r.textBits:
		at, room = begin%ring, next-begin
	case (begin+ring)>>r.textBits == next>>r.textBits:
		at, room = 0, next%ring
	}
	if room < logBlockHead {
		return 0, 0, false
	}
	return at, room - logBlockHead, true
}

// record decodes all of a message but its text.
func (r *logRing) record(info record) LogRecord {
	f := &r.infoFields
	bits := info.data[f.Facility.at+1]
	return LogRecord{
		Seq:       f.Seq.uint(info),
		Time:      time.Duration(f.Time.uint(info)),
		Level:     bits >> logLevelShift,
		Facility:  uint8(f.Facility.uint(info)),
		Caller:    LogCaller(f.Caller.uint(info)),
		Continued: bits&logFlagCont != 0,
		Subsystem: f.Subsystem.text(info),
		Device:    f.Device.text(info),
	}
}

// joinTexts is how far texts may lie apart, in bytes, and still be read in one piece.
const joinTexts = 512

// readTexts fills the texts of found in, and takes out of it, from start on, what has none.
func (r *logRing) readTexts(ctx context.Context, texts []logText, start int) error {
	slices.SortFunc(texts, func(a, b logText) int { return cmp.Compare(a.at, b.at) })
	var spans []span
	places := make([]int, len(texts)) // where each is in what is read
	total := 0
	for i, t := range texts {
		begin, end := r.text+t.at, r.text+t.at+logBlockHead+uint64(t.size)
		last := len(spans) - 1
		if last < 0 || begin > spans[last].addr+uint64(spans[last].size)+joinTexts {
			spans = append(spans, span{addr: begin})
			last++
		}
		s := &spans[last]
		places[i] = total + int(begin-s.addr)
		s.size = max(s.size, int(end-s.addr))
		if i+1 == len(texts) || r.text+texts[i+1].at > s.addr+uint64(s.size)+joinTexts {
			total += s.size
		}
	}
	read, err := readPatchwork(ctx, r.k.Space, spans...)
	if err != nil {
		return err
	}
	var lost []int
	for i, t := range texts {
		if err := r.fill(read, t, places[i]); err != nil {
			r.damage.add("record %d: %w", r.found[t.record].Seq, err)
			lost = append(lost, t.record)
		}
	}
	r.drop(lost, start)
	return nil
}

// fill sets the text of a message, which begins at place in what was read.
func (r *logRing) fill(read *patchwork, t logText, place int) error {
	block, err := read.part(place, logBlockHead+t.size)
	if err != nil {
		return err
	}
	if owner := binary.LittleEndian.Uint64(block); owner != t.id {
		return fmt.Errorf("its text belongs to another record, or was overwritten (id %#x, want %#x)", owner, t.id)
	}
	r.found[t.record].Text = string(block[logBlockHead:])
	return nil
}

// drop takes records out of found; all of them stand at start or later.
func (r *logRing) drop(lost []int, start int) {
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
