package find

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
)

// Link addresses, in the data of a [memimage.Kernel], of the variables that kexec uses.
const (
	linkGlobals = memimage.LinkText + 9<<21 + 0x4000
	linkCommand = linkGlobals + 0x100
)

var kexecGlobals = []string{
	"elfcorehdr_addr", "kexec_in_progress", "kexec_crash_image", "panic_cpu", "saved_command_line", "vmcoreinfo_note",
}

// kexecVmlinux is the symbol table of d with the variables that kexec uses.
func kexecVmlinux(d *memimage.Kernel) *symbols.Table {
	var syms []symbols.Symbol
	for _, s := range d.Symbols() {
		syms = append(syms, symbols.Symbol{Name: s.Name, Addr: s.Link, Size: s.Size, Func: s.Func})
	}
	for i, name := range kexecGlobals {
		syms = append(syms, symbols.Symbol{Name: name, Addr: linkGlobals + 8*uint64(i), Size: 8})
	}
	return symbols.NewTable(syms, []byte(d.BuildID))
}

// imageAt returns what d has at a link address.
func imageAt(d *memimage.Kernel, link uint64) []byte {
	return d.RAM[d.TextPhys+bridge.PhysAddr(link-memimage.LinkText):]
}

// setGlobals gives a kernel the values of the variables that kexec uses, and a command line.
func setGlobals(d *memimage.Kernel, headers, rebooting, image, panicked uint64, commandLine string) {
	for i, v := range []uint64{headers, rebooting, image, panicked, linkCommand + d.Slide} {
		binary.LittleEndian.PutUint64(imageAt(d, linkGlobals+8*uint64(i)), v)
	}
	copy(imageAt(d, linkCommand), commandLine+"\x00")
}

const noHeaders = ^uint64(0)

func attachTo(t *testing.T, mem bridge.Memory, d *memimage.Kernel) *linux.Kernel {
	t.Helper()
	k, err := linux.Attach(ctx, mmu.New(mem, nil), &linux.Options{CR3: d.CR3, Symbols: kexecVmlinux(d)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestHandover(t *testing.T) {
	const pointer = 0xffff888012345678
	for _, tc := range []struct {
		name                                string
		headers, rebooting, image, panicked uint64
		line                                string
		want                                Handover
		wrong                               bool
	}{
		{"a kernel that runs", noHeaders, 0, 0, linux.NoCPU, "quiet", NoHandover, false},
		{"one that panicked", noHeaders, 0, 0, 1, "quiet", NoHandover, false},
		{"one that panicked, with a capture kernel", noHeaders, 0, pointer, 1, "quiet", MayBeCaptured, false},
		{"one that runs, with a capture kernel", noHeaders, 0, pointer, linux.NoCPU, "quiet", NoHandover, false},
		{"one that rebooted by kexec", noHeaders, 1, 0, linux.NoCPU, "quiet", StartedNext, false},
		{"a flag that is damaged", noHeaders, 7, 0, linux.NoCPU, "quiet", NoHandover, false},
		{"a capture kernel that starts", 0x100000, 0, 0, linux.NoCPU, "elfcorehdr=0x100000 quiet", CapturesDump, false},
		{"a capture kernel that is up", noHeaders - 1, 0, 0, linux.NoCPU, "quiet elfcorehdr=1M", CapturesDump, false},
		{"a capture kernel that panicked", noHeaders - 1, 0, 0, 0, "elfcorehdr=4K@1M", CapturesDump, false},
		{"a variable that is damaged", 0, 0, 0, linux.NoCPU, "quiet", NoHandover, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := deadKernel(4)
			setGlobals(d, tc.headers, tc.rebooting, tc.image, tc.panicked, tc.line)
			fake := bridgetest.NewFake(d.RAM)
			k := attachTo(t, fake, d)
			before := fake.Counts().Batches
			got, err := HandoverOf(ctx, k)
			if got != tc.want || (err != nil) != tc.wrong {
				t.Errorf("%v, %v; want %v", got, err, tc.want)
			}
			// Two batches walk the last page tables and read.
			if n := fake.Counts().Batches - before; tc.headers == noHeaders && n > 2 {
				t.Errorf("%d batches of a kernel that is alone", n)
			}
		})
	}
	d := deadKernel(4)
	k, err := linux.Attach(ctx, mmu.New(bridgetest.NewFake(d.RAM), nil), &linux.Options{CR3: d.CR3, Symbols: vmlinuxOf(d, d.BuildID)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := HandoverOf(ctx, k); got != NoHandover || err != nil {
		t.Errorf("a kernel without kexec: %v, %v", got, err)
	}
}

// coreHeaders makes ELF headers with a note for each address.
func coreHeaders(notes ...bridge.PhysAddr) []byte {
	const headerSize, entrySize = 64, 56
	p := make([]byte, headerSize+entrySize*(len(notes)+1))
	copy(p, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint64(p[32:], headerSize)
	binary.LittleEndian.PutUint16(p[54:], entrySize)
	binary.LittleEndian.PutUint16(p[56:], uint16(len(notes)+1))
	for i, at := range notes {
		entry := p[headerSize+entrySize*i:]
		binary.LittleEndian.PutUint32(entry, 4) // PT_NOTE
		binary.LittleEndian.PutUint64(entry[8:], uint64(at))
	}
	binary.LittleEndian.PutUint32(p[headerSize+entrySize*len(notes):], 1) // PT_LOAD
	return p
}

// kdumped makes a memory with a capture kernel that runs, and the kernel that panicked. Both are of
// one build.
func kdumped() (capture, dead *memimage.Kernel, headers bridge.PhysAddr) {
	capture = memimage.NewKernel(&memimage.KernelOptions{TextPhys: 40 << 20, Slide: testSlide})
	dead = memimage.NewKernel(&memimage.KernelOptions{In: capture.Image, TextPhys: 16 << 20, Slide: 2 * testSlide})
	capture.AddTrampoline(testTable)
	capture.AddVMCoreInfo()
	note := dead.AddVMCoreInfo()
	headers = capture.Page()
	copy(capture.RAM[headers:], coreHeaders(capture.Page(), capture.Page(), note))
	setGlobals(capture, noHeaders-1, 0, 0, linux.NoCPU, "console=ttyS0 elfcorehdr=0x100000 elfcorehdr="+
		hexadecimal(headers)+" quiet")
	setGlobals(dead, noHeaders, 0, 0xffff888012345678, 1, "crashkernel=1G")
	return capture, dead, headers
}

func hexadecimal(at bridge.PhysAddr) string {
	const digits = "0123456789abcdef"
	text := ""
	for ; at > 0; at >>= 4 {
		text = digits[at&15:][:1] + text
	}
	return "0x" + text
}

func TestFindPanickedKernel(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(m *memimage.Kernel, headers bridge.PhysAddr)
		by     linux.Method
		reads  uint64
	}{
		{"by the headers", func(*memimage.Kernel, bridge.PhysAddr) {}, linux.ByELFCoreHeaders, 20},
		{"the headers are overwritten", func(m *memimage.Kernel, at bridge.PhysAddr) { clear(m.RAM[at:][:64]) }, linux.ByNoteScan, 20000},
		{"their table is elsewhere", func(m *memimage.Kernel, at bridge.PhysAddr) { m.Put64(at+32, 1<<40) }, linux.ByNoteScan, 20000},
		{"their table is in no memory", func(m *memimage.Kernel, at bridge.PhysAddr) { m.Put64(at+32, 1<<30) }, linux.ByNoteScan, 20000},
		{"their notes are none", func(m *memimage.Kernel, at bridge.PhysAddr) { m.Put64(at+64+2*56+8, 0x3000) }, linux.ByNoteScan, 20000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			capture, dead, headers := kdumped()
			tc.damage(capture, headers)
			fake := bridgetest.NewFake(capture.RAM)
			first := attachTo(t, fake, capture)
			before := fake.Counts().Reads
			k, err := Other(ctx, mmu.New(fake, nil), fake, &Options{}, first, CapturesDump)
			if err != nil {
				t.Fatal(err)
			}
			isKernel(t, k, dead, tc.by)
			if n := fake.Counts().Reads - before; n > tc.reads {
				t.Errorf("%d reads, want %d at most", n, tc.reads)
			}
			if at, err := k.NotePlace(ctx); at == 0 || err != nil {
				t.Errorf("its note: %#x, %v", uint64(at), err)
			}
		})
	}
}

// TestFindCaptureKernel begins with the kernel that panicked.
func TestFindCaptureKernel(t *testing.T) {
	capture, dead, _ := kdumped()
	fake := bridgetest.NewFake(capture.RAM)
	k, err := Other(ctx, mmu.New(fake, nil), fake, &Options{}, attachTo(t, fake, dead), MayBeCaptured)
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, capture, linux.ByTrampoline)
}

// TestFindNextKernel begins with one that has started another by kexec, and left a trampoline
// that is found first.
func TestFindNextKernel(t *testing.T) {
	next, old, _ := kdumped()
	old.AddTrampoline(testTable + 0x2000)
	fake := bridgetest.NewFake(next.RAM)
	k, err := Other(ctx, mmu.New(fake, nil), fake, &Options{}, attachTo(t, fake, old), StartedNext)
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, next, linux.ByTrampoline)
}

func TestNoOtherKernel(t *testing.T) {
	d := deadKernel(4)
	setGlobals(d, 0x100000, 0, 0, linux.NoCPU, "elfcorehdr=0x100000")
	d.AddTrampoline(testTable)
	fake := bridgetest.NewFake(d.RAM)
	for _, how := range []Handover{CapturesDump, MayBeCaptured, StartedNext} {
		_, err := Other(ctx, mmu.New(fake, nil), fake, &Options{}, attachTo(t, fake, d), how)
		if none := (*NotFoundError)(nil); !errors.As(err, &none) {
			t.Errorf("%d: %v", how, err)
		}
	}
}

func TestParseMemorySize(t *testing.T) {
	for text, want := range map[string]bridge.PhysAddr{
		"0x12000000": 0x12000000, "4096": 4096, "867700K": 867700 << 10, "1g": 1 << 30, "0x2M": 2 << 20, "0x1e": 0x1e, "0": 0,
	} {
		if got, err := parseMemorySize(text); got != want || err != nil {
			t.Errorf("%s: %#x, %v", text, uint64(got), err)
		}
	}
	for _, text := range []string{"", "K", "x", "12X", "0xffffffffffffffffK", "-1"} {
		if got, err := parseMemorySize(text); err == nil || !strings.Contains(err.Error(), "is not an address") {
			t.Errorf("%q: %#x, %v", text, uint64(got), err)
		}
	}
}

func FuzzELFCoreNotes(f *testing.F) {
	f.Add(coreHeaders(0x1000, 0x2000), "elfcorehdr=0x1000")
	f.Add([]byte("\x7fELF\x02"), "elfcorehdr=4K@1M")
	f.Fuzz(func(t *testing.T, headers []byte, line string) {
		_, _ = parseMemorySize(line)
		mem := bridgetest.NewFake(headers)
		fd := &finder{mem: mem, o: &Options{}}
		notes, err := fd.elfCoreNotes(ctx, 0)
		if err != nil {
			return
		}
		count := 0
		for range notes {
			count++
		}
		if count > len(headers)/56 {
			t.Errorf("%d notes in %d bytes", count, len(headers))
		}
	})
}
