package linux

import (
	"encoding/binary"
	"strings"
	"testing"
)

// A note as Debian's 6.12 and 6.1 wrote them into RAM, cut to the lines that count and to others of
// their kind.
const (
	vmcoreinfo612 = "OSRELEASE=6.12.117+deb12-cloud-amd64\nBUILD-ID=7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3\nPAGESIZE=4096\n" +
		"SYMBOL(init_uts_ns)=ffffffff96c1a000\nOFFSET(uts_namespace.name)=0\nSYMBOL(swapper_pg_dir)=ffffffff96c22000\n" +
		"NUMBER(VMALLOC_START)=0xff80000000000000\nNUMBER(phys_base)=-100663296\nSYMBOL(init_top_pgt)=ffffffff96c22000\n" +
		"NUMBER(pgtable_l5_enabled)=1\nKERNELOFFSET=14000000\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\nNUMBER(sme_mask)=0\n"
	vmcoreinfo61 = "OSRELEASE=6.1.0-56-cloud-amd64\nSYMBOL(swapper_pg_dir)=ffffffff84a10000\nNUMBER(phys_base)=109051904\n" +
		"NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=2000000\n"
)

// elfNote puts text into a note as kernels do.
func elfNote(name string, kind uint32, text string) []byte {
	p := binary.LittleEndian.AppendUint32(nil, uint32(len(name)))
	p = binary.LittleEndian.AppendUint32(p, uint32(len(text)))
	p = binary.LittleEndian.AppendUint32(p, kind)
	p = append(p, name...)
	return append(append(p, make([]byte, -len(p)&3)...), text...)
}

func TestParseVMCoreInfo(t *testing.T) {
	const name = "VMCOREINFO\x00"
	of612 := VMCoreInfo{"6.12.117+deb12-cloud-amd64", -0x6000000, 0xffffffff96c22000, 5, KallsymsPlace{}, 0}
	of61 := VMCoreInfo{"6.1.0-56-cloud-amd64", 0x6800000, 0xffffffff84a10000, 4, KallsymsPlace{}, 0}
	const tables = "SYMBOL(kallsyms_names)=ffffffff84120ad8\nSYMBOL(kallsyms_num_syms)=ffffffff84120ad0\n" +
		"SYMBOL(kallsyms_token_table)=ffffffff8432c330\nSYMBOL(kallsyms_relative_base)=ffffffff843f3a28\n"
	named := of61
	named.Kallsyms = KallsymsPlace{First: 0xffffffff84120ad0, Last: 0xffffffff843f3a28, Count: 0xffffffff84120ad0}
	logged := of61
	logged.Log = 0xffffffff84c5e6b8
	for _, tc := range []struct {
		name string
		in   []byte
		want VMCoreInfo
		cr3  uint64
		err  string
	}{
		{"a note", elfNote(name, 0, vmcoreinfo612), of612, 0x10c22000, ""},
		{"a note and what follows it", append(elfNote(name, 0, vmcoreinfo61), elfNote(name, 0, vmcoreinfo612)...), of61,
			0xb210000, ""},
		{"the text alone", []byte(vmcoreinfo61 + "\x00NUMBER(phys_base)=1\n"), of61, 0xb210000, ""},
		{"a kernel that knows 4 levels only", []byte(strings.Replace(vmcoreinfo61, "NUMBER(pgt", "NUMBER(xxx", 1)),
			VMCoreInfo{of61.Release, of61.PhysBase, of61.TopTable, 0, KallsymsPlace{}, 0}, 0xb210000, ""},
		{"the places of the names", []byte(vmcoreinfo61 + tables), named, 0xb210000, ""},
		{"some of the places", []byte(vmcoreinfo61 + strings.Replace(tables, "num_syms", "x", 1)), of61, 0xb210000, ""},
		{"names outside the image", []byte(vmcoreinfo61 + strings.ReplaceAll(tables, "=ffffffff", "=ffff8880")), of61, 0xb210000, ""},
		{"the place of the log", []byte(vmcoreinfo61 + "SYMBOL(prb)=ffffffff84c5e6b8\n"), logged, 0xb210000, ""},
		{"a log outside the image", []byte(vmcoreinfo61 + "SYMBOL(prb)=ffff888084c5e6b8\n"), of61, 0xb210000, ""},
		{"a note cut off", elfNote(name, 0, vmcoreinfo612)[:300], VMCoreInfo{}, 0, "300 bytes of"},
		{"a note without text", elfNote(name, 0, ""), VMCoreInfo{}, 0, "no VMCOREINFO"},
		{"a note of another kind", elfNote(name, 1, vmcoreinfo612), VMCoreInfo{}, 0, "no VMCOREINFO"},
		{"a note of another name", elfNote("CORE\x00", 0, vmcoreinfo612), VMCoreInfo{}, 0, "no VMCOREINFO"},
		{"zeros", make([]byte, 4096), VMCoreInfo{}, 0, "no VMCOREINFO"},
		{"nothing", nil, VMCoreInfo{}, 0, "no VMCOREINFO"},
		{"no phys_base", []byte(strings.Replace(vmcoreinfo612, "phys_base", "x", 1)), VMCoreInfo{}, 0, "without a phys_base"},
		{"no table", []byte(strings.ReplaceAll(vmcoreinfo612, "swapper", "x")), VMCoreInfo{}, 0, "believable swapper_pg_dir"},
		{"a table outside the image", []byte(strings.Replace(vmcoreinfo612, "r_pg_dir)=ffffffff", "r_pg_dir)=ffff8880", 1)),
			VMCoreInfo{}, 0, "believable swapper_pg_dir"},
		{"a table amid a page", []byte(strings.Replace(vmcoreinfo612, "96c22000", "96c22008", 1)), VMCoreInfo{}, 0,
			"believable swapper_pg_dir"},
		{"a table below 0", []byte(strings.Replace(vmcoreinfo612, "-100663296", "-900663296", 1)), VMCoreInfo{}, 0,
			"believable swapper_pg_dir"},
		{"a table beyond all memory", []byte(strings.Replace(vmcoreinfo612, "-100663296", "4503599627370496", 1)),
			VMCoreInfo{}, 0, "believable swapper_pg_dir"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := ParseVMCoreInfo(tc.in)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%+v, %v; want %q", v, err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *v != tc.want || v.CR3() != tc.cr3 {
				t.Errorf("%+v, CR3 %#x; want %+v, %#x", *v, v.CR3(), tc.want, tc.cr3)
			}
		})
	}
}

func FuzzParseVMCoreInfo(f *testing.F) {
	f.Add(elfNote("VMCOREINFO\x00", 0, vmcoreinfo612))
	f.Add([]byte(vmcoreinfo61))
	f.Add([]byte("OSRELEASE=\nNUMBER(phys_base)=-1\nSYMBOL(swapper_pg_dir)=ffffffff80001000"))
	f.Fuzz(func(t *testing.T, p []byte) {
		v, err := ParseVMCoreInfo(p)
		if err != nil {
			return
		}
		if v.CR3() >= 1<<52 || (v.CR3()-uint64(v.PhysBase))%4096 != 0 || v.Levels != 0 && v.Levels != 4 && v.Levels != 5 {
			t.Errorf("%+v, CR3 %#x", v, v.CR3())
		}
	})
}
