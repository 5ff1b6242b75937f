package memimage

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"physgdb/bridge"
)

// upperHalf returns a top-level page table that maps only the kernel.
func (k *Kernel) upperHalf() []byte {
	table := make([]byte, pageSize)
	copy(table[pageSize/2:], k.RAM[k.CR3+pageSize/2:][:pageSize/2])
	return table
}

// InitTop returns the physical address of the kernel's own top-level page table.
func (k *Kernel) InitTop() bridge.PhysAddr { return k.High + k.offset("init_top_pgt") }

// AddTrampoline writes a real-mode trampoline into memory, as a kernel does to start CPUs:
// a top-level table at an address below 1 MiB, and its header in the next page.
func (k *Kernel) AddTrampoline(table bridge.PhysAddr) {
	copy(k.RAM[table:], k.upperHalf())
	k.Put64(table, 0x1000|Present|Writable)
	k.AddTrampolineHeader(table + pageSize)
}

// AddTrampolineHeader writes only a trampoline's header into memory.
func (k *Kernel) AddTrampolineHeader(at bridge.PhysAddr) {
	const longMode, paging, fiveLevels = 0x901, 0xb0, 1 << 12
	cr4 := uint64(paging)
	if k.Levels == 5 {
		cr4 |= fiveLevels
	}
	k.Put64(at, k.Text()+0x70)
	k.Put64(at+8, longMode)
	k.Put64(at+16, cr4) // and no flags
}

// VMCoreInfo returns the ELF note in which the kernel describes itself.
func (k *Kernel) VMCoreInfo() []byte {
	link := uint64(k.offset("init_top_pgt")-k.TextPhys) + LinkText
	text := fmt.Sprintf("OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(_stext)=%x\nSYMBOL(swapper_pg_dir)=%x\n"+
		"NUMBER(phys_base)=%d\nNUMBER(pgtable_l5_enabled)=%d\nKERNELOFFSET=%x\n", k.Text(), link+k.Slide,
		int64(k.High+k.TextPhys)-int64(LinkText+k.Slide-0xffffffff80000000), k.Levels-4, k.Slide)
	const name = "VMCOREINFO\x00\x00"
	note := binary.LittleEndian.AppendUint32(nil, uint32(len(name)-1))
	note = binary.LittleEndian.AppendUint32(note, uint32(len(text)))
	note = binary.LittleEndian.AppendUint32(note, 0)
	return append(note, name+text...)
}

// AddVMCoreInfo writes that note into memory and returns its address.
func (k *Kernel) AddVMCoreInfo() bridge.PhysAddr {
	at := k.Page()
	copy(k.RAM[at:], k.VMCoreInfo())
	return at
}

// Resource is a line of /proc/iomem, with the resources inside it.
type Resource struct {
	Start, Last uint64
	Name        string
	Children    []Resource
}

// The layout of struct resource in these kernels, which differs from real ones: offsets in bytes.
const (
	ResourceSize    = 80
	ResourceName    = 0
	ResourceSibling = 8
	ResourceChild   = 16
	ResourceStart   = 56
	ResourceEnd     = 64
)

// resourceBTF is that layout in BTF.
func resourceBTF() ([]byte, error) {
	word := &btf.Int{Name: "unsigned long", Size: 8}
	s := &btf.Struct{Name: "resource", Size: ResourceSize}
	for _, m := range []struct {
		name   string
		offset uint32
	}{
		{"name", ResourceName}, {"sibling", ResourceSibling}, {"child", ResourceChild}, {"start", ResourceStart},
		{"end", ResourceEnd},
	} {
		s.Members = append(s.Members, btf.Member{Name: m.name, Type: word, Offset: btf.Bits(8 * m.offset)})
	}
	b, err := btf.NewBuilder([]btf.Type{s}, nil)
	if err != nil {
		return nil, err
	}
	return b.Marshal(nil, nil)
}

// AddResources writes the kernel's tree of resources, and returns the virtual addresses of its
// entries, in the order of /proc/iomem. The first is that of iomem_resource, the root.
func (k *Kernel) AddResources(all ...Resource) (addrs []uint64) {
	next := k.offset("iomem_resource")
	va := func(pa bridge.PhysAddr) uint64 { return uint64(pa-k.TextPhys) + k.Text() }
	var add func(r Resource) bridge.PhysAddr
	add = func(r Resource) bridge.PhysAddr {
		at := next
		next += ResourceSize
		addrs = append(addrs, va(at))
		k.Put64(at+ResourceStart, r.Start)
		k.Put64(at+ResourceEnd, r.Last)
		k.Put64(at+ResourceName, va(next))
		copy(k.RAM[next:], r.Name+"\x00")
		next += bridge.PhysAddr(len(r.Name)+8) &^ 7
		link := at + ResourceChild
		for _, c := range r.Children {
			child := add(c)
			k.Put64(link, va(child))
			link = child + ResourceSibling
		}
		return at
	}
	add(Resource{Last: ^uint64(0), Name: "PCI mem", Children: all})
	return addrs
}

// AtVA returns the offset in the image of a virtual address in the kernel's data.
func (k *Kernel) AtVA(va uint64) bridge.PhysAddr { return k.TextPhys + bridge.PhysAddr(va-k.Text()) }
