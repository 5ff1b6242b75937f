package klog

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/kmemtest"
	"physgdb/test/linuxtest"
)

// logInfoText is the part of a VMCOREINFO that describes the log of a [logWriter].
const logInfoText = `OSRELEASE=6.12.0-test
SYMBOL(prb)=ffffffff82000000
SIZE(printk_ringbuffer)=56
OFFSET(printk_ringbuffer.desc_ring)=0
OFFSET(printk_ringbuffer.text_data_ring)=40
SIZE(prb_desc_ring)=40
OFFSET(prb_desc_ring.count_bits)=0
OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16
OFFSET(prb_desc_ring.head_id)=24
OFFSET(prb_desc_ring.tail_id)=32
SIZE(prb_data_ring)=16
OFFSET(prb_data_ring.size_bits)=0
OFFSET(prb_data_ring.data)=8
SIZE(prb_desc)=24
OFFSET(prb_desc.state_var)=0
OFFSET(prb_desc.text_blk_lpos)=8
SIZE(prb_data_blk_lpos)=16
OFFSET(prb_data_blk_lpos.begin)=0
OFFSET(prb_data_blk_lpos.next)=8
SIZE(printk_info)=88
OFFSET(printk_info.seq)=0
OFFSET(printk_info.ts_nsec)=8
OFFSET(printk_info.text_len)=16
OFFSET(printk_info.caller_id)=20
OFFSET(printk_info.dev_info)=24
SIZE(dev_printk_info)=64
OFFSET(dev_printk_info.subsystem)=0
LENGTH(printk_info_subsystem)=16
OFFSET(dev_printk_info.device)=16
LENGTH(printk_info_device)=48
`

// withoutTypes returns the kernel of a log whose vmlinux has no types, but which has a VMCOREINFO.
func (l *logWriter) withoutTypes(t *testing.T, info string) *linux.Kernel {
	t.Helper()
	data, size, text := l.Alloc("", 8), l.Alloc("", 8), l.Alloc("", uint64(len(info)))
	copy(l.RAM[text-kmemtest.Base:], info)
	l.Put(data, text)
	l.Put(size, uint64(len(info)))
	return l.With(t, map[string]uint64{"prb": kmemtest.Base + 1<<20, "vmcoreinfo_data": data, "vmcoreinfo_size": size}, nil)
}

func TestLogOfKernelWithoutTypes(t *testing.T) {
	l := newLogWriter(t, 8, 13)
	l.fill(100)
	log, err := Read(ctx, l.withoutTypes(t, logInfoText), 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := l.want(); !slices.Equal(log.Records, want) || len(log.Damage) != 0 {
		t.Errorf("%d records, want %d; damage %v", len(log.Records), len(want), log.Damage)
	}
}

func TestLogOfKernelWithoutTypesAndOffsets(t *testing.T) {
	l := newLogWriter(t, 8, 13)
	if _, err := Read(ctx, l.withoutTypes(t, "OSRELEASE=6.12.0-test\n"), 0); !errors.Is(err, symbols.ErrNoType) {
		t.Errorf("got error %v, want %v", err, symbols.ErrNoType)
	}
}

func FuzzVMCoreInfoTypes(f *testing.F) {
	f.Add([]byte(logInfoText), "printk_ringbuffer", "desc_ring.count_bits")
	f.Add([]byte(logInfoText), "printk_info", "dev_info.device")
	f.Fuzz(func(t *testing.T, text []byte, typ, path string) {
		types := newVMCoreInfoTypes(text)
		field, err := types.Field(typ, path)
		if err == nil && field.Size > 1<<32 {
			t.Errorf("%s.%s has %d bytes", typ, path, field.Size)
		}
	})
}

// TestNoSymbol checks that the error for a missing symbol names the option that the kernel was
// built without.
func TestNoSymbol(t *testing.T) {
	for _, tc := range []struct {
		name    string
		symbols map[string]uint64
		want    string
	}{
		{"functions only", map[string]uint64{"_text": kmemtest.Base}, "the address of prb is not known: this kernel has names of functions only"},
		{"data, too", map[string]uint64{"_text": kmemtest.Base, "init_top_pgt": kmemtest.Base + 8}, "the kernel has no symbol prb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := linuxtest.New(t, tc.symbols, nil)
			w.Structs.Define("printk_ringbuffer", "x")
			if _, err := Read(ctx, w.Kernel, 0); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q in it", err, tc.want)
			}
		})
	}
}
