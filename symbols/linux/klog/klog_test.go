package klog

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"physgdb/symbols/linux/kmem"
	"physgdb/test/kmemtest"
	"physgdb/test/linuxtest"

	"physgdb/bridge"
	"physgdb/symbols"
)

var ctx = context.Background()

// logWriter writes messages into a ring as the kernel does (prb_reserve(), data_alloc(),
// prb_commit() of kernel/printk/printk_ringbuffer.c), and remembers what is in it.
type logWriter struct {
	*linuxtest.World
	countBits, textBits uint
	toTheEnd            bool // blocks may reach up to the end of the ring (6.19)

	head, descs, infos, text uint64 // addresses
	headID, tailID           uint64
	headPos, tailPos         uint64
	alive                    map[uint64]Record // by id
}

const (
	testDescSize = 24
	testInfoSize = 88
)

func newLogWriter(t *testing.T, countBits, textBits uint) *logWriter {
	w := linuxtest.New(t, map[string]uint64{"prb": kmemtest.Base + 1<<20}, nil)
	w.Structs.Define("printk_ringbuffer", "desc_ring.count_bits", 4, "desc_ring.descs", "desc_ring.infos", "desc_ring.head_id",
		"desc_ring.tail_id", "text_data_ring.size_bits", 4, "text_data_ring.data")
	w.Structs.Define("prb_desc", "state_var", "text_blk_lpos.begin", "text_blk_lpos.next")
	for path, f := range map[string]symbols.Field{
		"": {Size: testInfoSize}, "seq": {Size: 8}, "ts_nsec": {Offset: 8, Size: 8}, "text_len": {Offset: 16, Size: 2},
		"facility": {Offset: 18, Size: 1}, "caller_id": {Offset: 20, Size: 4},
		"dev_info.subsystem": {Offset: 24, Size: 16, Elem: 1}, "dev_info.device": {Offset: 40, Size: 48, Elem: 1},
	} {
		w.Structs[strings.TrimSuffix("printk_info."+path, ".")] = f
	}
	count := uint64(1) << countBits
	l := &logWriter{World: w, countBits: countBits, textBits: textBits, alive: map[uint64]Record{}}
	l.lay(count)
	return l
}

// lay lays the rings out. Ids begin one round and one before 0, counted in 32 bits (DESC0_ID).
func (l *logWriter) lay(count uint64) {
	l.head = l.Alloc("printk_ringbuffer", 0)
	l.descs, l.infos, l.text = l.Alloc("", count*testDescSize), l.Alloc("", count*testInfoSize), l.Alloc("", 1<<l.textBits)
	l.headID = uint64(uint32(-(count + 1)))
	l.tailID = l.headID
	l.headPos = -(uint64(1) << l.textBits)
	l.tailPos = l.headPos
	l.Put(kmemtest.Base+1<<20, l.head)
	l.Set(l.head, "printk_ringbuffer", "desc_ring.count_bits", uint64(l.countBits))
	l.Set(l.head, "printk_ringbuffer", "desc_ring.descs", l.descs)
	l.Set(l.head, "printk_ringbuffer", "desc_ring.infos", l.infos)
	l.Set(l.head, "printk_ringbuffer", "text_data_ring.size_bits", uint64(l.textBits))
	l.Set(l.head, "printk_ringbuffer", "text_data_ring.data", l.text)
	l.Put(l.desc(l.headID), l.headID|3<<62, 1, 1)
	l.Put(l.info(0), -count)
	l.publish()
}

func (l *logWriter) publish() {
	l.Set(l.head, "printk_ringbuffer", "desc_ring.head_id", l.headID)
	l.Set(l.head, "printk_ringbuffer", "desc_ring.tail_id", l.tailID)
}

func (l *logWriter) count() uint64           { return 1 << l.countBits }
func (l *logWriter) desc(id uint64) uint64   { return l.descs + id%l.count()*testDescSize }
func (l *logWriter) info(id uint64) uint64   { return l.infos + id%l.count()*testInfoSize }
func (l *logWriter) block(pos uint64) uint64 { return l.text + pos%(1<<l.textBits) }

// drop makes a descriptor reusable.
func (l *logWriter) drop(id uint64) {
	l.Put(l.desc(id), id|3<<62)
	delete(l.alive, id)
}

// dropTexts makes room up to a position in the ring of texts.
func (l *logWriter) dropTexts(upTo uint64) {
	for int64(l.tailPos-upTo) < 0 {
		id := l.Word(l.block(l.tailPos))
		next := l.Word(l.desc(id) + 16)
		l.drop(id)
		l.tailPos = next
	}
}

// log writes a message and returns its id.
func (l *logWriter) log(r Record) uint64 {
	id := l.headID + 1
	if id-l.count() == l.tailID {
		l.drop(l.tailID)
		if next := l.Word(l.desc(l.tailID) + 16); next&1 == 0 {
			l.dropTexts(next)
		}
		l.tailID++
	}
	l.headID = id
	seq := l.Word(l.info(id)) + l.count()
	if l.Word(l.info(id)) == 0 && id%l.count() != 0 {
		seq = id % l.count()
	}
	r.Seq = seq
	begin, next := uint64(3), uint64(3)
	if r.Text != "" {
		begin, next = l.write(id, r.Text)
	}
	l.Put(l.desc(id), id|2<<62, begin, next)
	info := binary.LittleEndian.AppendUint64(nil, r.Seq)
	info = binary.LittleEndian.AppendUint64(info, uint64(r.Time))
	info = binary.LittleEndian.AppendUint16(info, uint16(len(r.Text)))
	flags := r.Level<<5 | 2 // LOG_NEWLINE
	if r.Continued {
		flags |= 8
	}
	info = append(info, r.Facility, flags)
	info = binary.LittleEndian.AppendUint32(info, uint32(r.Caller))
	clear(l.RAM[l.info(id)-kmemtest.Base:][:testInfoSize])
	copy(l.RAM[l.info(id)-kmemtest.Base:], info)
	copy(l.RAM[l.info(id)-kmemtest.Base+24:], r.Subsystem)
	copy(l.RAM[l.info(id)-kmemtest.Base+40:], r.Device)
	l.alive[id] = r
	l.publish()
	return id
}

// write puts a text into its ring.
func (l *logWriter) write(id uint64, text string) (begin, next uint64) {
	size := uint64(8+len(text)+7) &^ 7
	begin, next = l.headPos, l.headPos+size
	last := next
	if l.toTheEnd {
		last--
	}
	wraps := begin>>l.textBits != last>>l.textBits
	if wraps {
		next = next>>l.textBits<<l.textBits + size
	}
	l.dropTexts(next - 1<<l.textBits)
	l.Put(l.block(begin), id)
	at := l.block(begin)
	if wraps {
		at = l.text
		l.Put(at, id)
	}
	copy(l.RAM[at+8-kmemtest.Base:], text)
	l.headPos = next
	return begin, next
}

// want is what the log must have.
func (l *logWriter) want() []Record {
	var want []Record
	for id := l.tailID; id <= l.headID; id++ {
		if r, ok := l.alive[id]; ok {
			want = append(want, r)
		}
	}
	return want
}

// fill logs n messages of many kinds.
func (l *logWriter) fill(n int) {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		r := Record{Time: time.Duration(i) * time.Millisecond, Level: uint8(i % 8), Facility: uint8(i % 24)}
		r.Caller = Caller(uint32(i) | uint32(i%2)<<31)
		r.Continued = i%5 == 0
		if i%3 == 0 {
			r.Subsystem, r.Device = "pci", fmt.Sprintf("+pci:%d", i)
		}
		if size := random.IntN(40); i%7 != 0 {
			r.Text = fmt.Sprintf("message %d%s", i, strings.Repeat(".", size))
		}
		l.log(r)
	}
}

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name                string
		countBits, textBits uint
		messages            int
		toTheEnd            bool
	}{
		{"empty", 5, 10, 0, false},
		{"one", 5, 10, 1, false},
		{"not full", 8, 13, 100, false},
		{"more messages than places", 4, 13, 1000, false},
		{"more text than room", 8, 9, 1000, false},
		{"texts up to the very end", 8, 9, 1000, true},
		{"many", 12, 17, 20000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLogWriter(t, tc.countBits, tc.textBits)
			l.toTheEnd = tc.toTheEnd
			l.fill(tc.messages)
			log, err := Read(ctx, l.Kernel, 0)
			if err != nil {
				t.Fatal(err)
			}
			if want := l.want(); !slices.Equal(log.Records, want) || len(log.Damage) != 0 {
				t.Errorf("%d records, want %d; damage %v", len(log.Records), len(want), log.Damage)
			}
		})
	}
}

func TestTextAtEndOfRing(t *testing.T) {
	for _, toTheEnd := range []bool{false, true} {
		l := newLogWriter(t, 6, 8) // room for eight blocks of 32 bytes
		l.toTheEnd = toTheEnd
		for i := range 21 {
			l.log(Record{Text: fmt.Sprintf("message %02d of 24 bytes.", i)})
		}
		log, err := Read(ctx, l.Kernel, 0)
		if want := l.want(); err != nil || !slices.Equal(log.Records, want) || len(want) < 7 || len(log.Damage) != 0 {
			t.Errorf("up to the end %v: %d records, want %d; damage %v, %v", toTheEnd, len(log.Records), len(want), log.Damage, err)
		}
	}
}

func TestReadNewest(t *testing.T) {
	l := newLogWriter(t, 12, 17)
	l.fill(5000)
	want := l.want()
	for _, n := range []int{1, 2, 63, 500, len(want) - 1, len(want), len(want) + 1, 1 << 20} {
		log, err := Read(ctx, l.Kernel, n)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(log.Records, want[max(0, len(want)-n):]) {
			t.Errorf("the newest %d: got %d, others", n, len(log.Records))
		}
	}
}

func TestReadNewestRoundTrips(t *testing.T) {
	l := newLogWriter(t, 12, 9) // room for some twenty texts, and for thousands of messages
	for range 20000 {
		l.log(Record{Text: "a line"})
	}
	before := l.Fake.Counts().Batches
	log, err := Read(ctx, l.Kernel, len(l.want())+1)
	if n := l.Fake.Counts().Batches - before; err != nil || len(log.Records) != len(l.want()) || n > 20 {
		t.Errorf("%d records, want %d, in %d batches; %v", len(log.Records), len(l.want()), n, err)
	}
}

func TestReadRoundTrips(t *testing.T) {
	l := newLogWriter(t, 12, 17)
	l.fill(20000)
	if _, err := Read(ctx, l.Kernel, 1); err != nil { // reads the page tables
		t.Fatal(err)
	}
	for _, tc := range []struct {
		newest int
		bytes  uint64
	}{{0, 4096*(testDescSize+testInfoSize) + 128<<10 + 1024}, {100, 100*(testDescSize+testInfoSize+80) + 1024}} {
		before := l.Fake.Counts()
		if _, err := Read(ctx, l.Kernel, tc.newest); err != nil {
			t.Fatal(err)
		}
		after := l.Fake.Counts()
		batches, bytes := after.Batches-before.Batches, after.Bytes-before.Bytes
		if batches != 4 || bytes > tc.bytes {
			t.Errorf("the newest %d: %d batches, %d bytes", tc.newest, batches, bytes)
		}
	}
}

func TestDamagedLog(t *testing.T) {
	for _, tc := range []struct {
		name   string
		harm   func(l *logWriter, id uint64) // id is the 10th of 20
		damage string
		left   int
	}{
		{"being written", func(l *logWriter, id uint64) { l.Put(l.desc(id), id) }, "record 9: was being written", 19},
		{"another id", func(l *logWriter, id uint64) { l.Put(l.desc(id), (id-64)|2<<62) }, "record 9: its place holds another", 19},
		{"another number", func(l *logWriter, id uint64) { l.Put(l.info(id), 77) }, "record 9: says that it is record 77", 19},
		{"committed only", func(l *logWriter, id uint64) { l.Put(l.desc(id), id|1<<62) }, "", 20},
		{"dropped", func(l *logWriter, id uint64) { l.drop(id) }, "", 19},
		{"no room for its text", func(l *logWriter, id uint64) { l.Put(l.desc(id)+8, 1, 1) }, "record 9: the log had no room", 19},
		{
			"half without text", func(l *logWriter, id uint64) { l.Put(l.desc(id)+8, 1) },
			"record 9: 9 bytes of text from position 0x1 to ", 19,
		},
		{"backwards", func(l *logWriter, id uint64) { l.Put(l.desc(id)+16, l.Word(l.desc(id)+8)-8) }, "damaged", 19},
		{"rounds apart", func(l *logWriter, id uint64) { l.Put(l.desc(id)+16, 1<<40) }, "damaged", 19},
		{"not aligned", func(l *logWriter, id uint64) { l.Put(l.desc(id)+8, 4) }, "damaged", 19},
		{"too long", func(l *logWriter, id uint64) { l.Set(l.info(id), "printk_info", "text_len", 200) }, "200 bytes", 19},
		{"text of another", func(l *logWriter, id uint64) { l.Put(l.block(l.Word(l.desc(id)+8)), 5) }, "belongs to another", 19},
		{"the ring too small", func(l *logWriter, id uint64) {
			l.Set(l.head, "printk_ringbuffer", "desc_ring.count_bits", 2)
		}, "are 21 apart, in a ring of 4", 0},
		{"the oldest far away", func(l *logWriter, id uint64) {
			l.Set(l.head, "printk_ringbuffer", "desc_ring.tail_id", 5)
		}, "apart, in a ring of 64", 20},
		{"no places", func(l *logWriter, id uint64) {
			l.Set(l.head, "printk_ringbuffer", "desc_ring.descs", 0xdead<<48)
			l.Set(l.head, "printk_ringbuffer", "desc_ring.infos", kmemtest.Base+1<<40)
		}, "record 19 and 20 before it", 0},
		{"a page missing", func(l *logWriter, id uint64) {
			l.Fake.Fail(bridge.PhysAddr(l.info(id)-kmemtest.Base), 8, bridge.ErrRefused)
		}, "record 9: ", 0},
		{"no texts", func(l *logWriter, id uint64) {
			l.Set(l.head, "printk_ringbuffer", "text_data_ring.data", 1)
		}, "record 19: ", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLogWriter(t, 6, 11)
			var id uint64
			for i := range 20 {
				r := Record{Text: "message 9"}
				if i == 4 || i == 5 {
					r.Text = ""
				}
				if n := l.log(r); i == 9 {
					id = n
				}
			}
			tc.harm(l, id)
			log, err := Read(ctx, l.Kernel, 0)
			if err != nil {
				t.Fatal(err)
			}
			reported := fmt.Sprint(log.Damage)
			if !strings.Contains(reported, tc.damage) || (tc.damage == "") != (len(log.Damage) == 0) {
				t.Errorf("damage %s, want %q", reported, tc.damage)
			}
			if tc.name != "a page missing" && len(log.Records) != tc.left {
				t.Errorf("%d records, want %d; %s", len(log.Records), tc.left, reported)
			}
			for _, r := range log.Records {
				if r.Text != "" && r.Text != "message 9" {
					t.Errorf("record %d: %q", r.Seq, r.Text)
				}
			}
		})
	}
}

func TestMissingPage(t *testing.T) {
	l := newLogWriter(t, 10, 15)
	l.fill(900)
	want := len(l.want())
	l.Fake.Fail(bridge.PhysAddr(l.infos-kmemtest.Base)&^4095+8*4096, 1, bridge.ErrRefused)
	log, err := Read(ctx, l.Kernel, 0)
	lost := want - len(log.Records)
	if err != nil || lost < 40 || lost > 50 || len(log.Damage) != kmem.MaxDamage+1 { // 4096 bytes are 46 infos
		t.Errorf("%d of %d records lost, %v; %d pieces of damage", lost, want, err, len(log.Damage))
	}
	if last := log.Damage[kmem.MaxDamage].Error(); last != fmt.Sprintf("and %d more such", lost-kmem.MaxDamage) {
		t.Errorf("the last piece of damage says %q", last)
	}
}

func TestTextsAreBounded(t *testing.T) {
	l := newLogWriter(t, 8, 10)
	for range 60 {
		l.log(Record{Text: "12345678"})
	}
	for id := l.tailID + 1; id <= l.headID; id++ { // each now goes on to the end
		l.Put(l.desc(id)+16, l.Word(l.desc(id)+8)+64)
		l.Set(l.info(id), "printk_info", "text_len", 56)
	}
	log, err := Read(ctx, l.Kernel, 0)
	if err != nil || len(log.Records) > 1024/56 || !strings.Contains(fmt.Sprint(log.Damage), "more than the log can hold") {
		t.Errorf("%d records, %v, %v", len(log.Records), log.Damage, err)
	}
}

func TestReadUnreadable(t *testing.T) {
	for name, harm := range map[string]func(l *logWriter){
		"its head is nowhere": func(l *logWriter) { l.Put(kmemtest.Base+1<<20, 0x1000) },
		"monstrously many":    func(l *logWriter) { l.Set(l.head, "printk_ringbuffer", "desc_ring.count_bits", 60) },
		"monstrous texts":     func(l *logWriter) { l.Set(l.head, "printk_ringbuffer", "text_data_ring.size_bits", 255) },
		"no types":            func(l *logWriter) { delete(l.Structs, "printk_info") },
		"monstrous places":    func(l *logWriter) { l.Structs["prb_desc"] = symbols.Field{Size: 1 << 40} },
		"monstrous infos":     func(l *logWriter) { l.Structs["printk_info"] = symbols.Field{Size: 1 << 40} },
		"a flag nowhere":      func(l *logWriter) { l.Structs["printk_info.facility"] = symbols.Field{Offset: 87, Size: 1} },
	} {
		l := newLogWriter(t, 5, 10)
		l.fill(10)
		harm(l)
		if log, err := Read(ctx, l.Kernel, 0); err == nil || !strings.Contains(err.Error(), "the kernel's log: ") {
			t.Errorf("%s: %+v, %v", name, log, err)
		}
	}
	old := linuxtest.New(t, map[string]uint64{"log_first_idx": kmemtest.Base}, nil)
	if _, err := Read(ctx, old.Kernel, 0); err == nil || !strings.Contains(err.Error(), "5.10") {
		t.Errorf("before 5.10: %v", err)
	}
}

// FuzzLog takes its input as patches of a good log: two bytes say where, eight what.
func FuzzLog(f *testing.F) {
	const patch = 10
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x3f\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x18\x00\x00\x00\x00\x00\x00\x00\x00\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLogWriter(t, 4, 8)
		l.fill(30)
		used := l.Next - l.head
		for ; len(data) >= patch; data = data[patch:] {
			at := uint64(binary.LittleEndian.Uint16(data)) % (used - 8)
			copy(l.RAM[l.head-kmemtest.Base+at:], data[2:patch])
		}
		log, err := Read(ctx, l.Kernel, 0)
		if err != nil {
			return
		}
		if len(log.Damage) > kmem.MaxDamage+1 {
			t.Errorf("%d pieces of damage", len(log.Damage))
		}
		seen, text := map[uint64]bool{}, 0
		for i := range log.Records {
			r := &log.Records[i]
			if seen[r.Seq] {
				t.Errorf("two records %d", r.Seq)
			}
			seen[r.Seq] = true
			text += len(r.Text)
			Format{Caller: true}.Format(r)
		}
		if text > int(used) && text > 1<<16 {
			t.Errorf("%d bytes of text", text)
		}
	})
}
