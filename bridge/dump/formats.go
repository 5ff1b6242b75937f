package dump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// container is a file format other than a raw RAM image, with advice on how to convert it.
type container struct {
	what   string
	advice string
	at     int      // offset of the magic
	magic  []string // any of them
}

// Advice for files of a kind.
const (
	unpack  = "unpack it first: %s FILE > RAM"
	dumpVM  = "of a guest that still exists, dump its RAM again by virsh dump --memory-only, or dump-guest-memory of QEMU's monitor"
	noLinux = "physgdb explains Linux alone"
	asDisk  = "want the RAM of the machine, not a disk of it"
	asCore  = "want a vmcore made of it: "
)

// containers are the formats that are known. Sources of the magic numbers: elf(5); makedumpfile's
// diskdump_mod.h and makedumpfile.h; LiME's lime.h; AVML's image.rs; QEMU's
// migration/qemu-file-types.h and block/qcow2.h; libvirt's qemu_saveimage.h; crash's vmware_vmss.c;
// file(1)'s magic for what compresses; Linux kernel/power/swap.c and tools/mm/page-types for
// mkswap(8)'s.
func containers() []container {
	return []container{
		{"a kdump-compressed dump", "crash and drgn read such dumps; physgdb reads RAM as it is", 0, []string{"KDUMP   ", "DISKDUMP"}},
		{"a flattened dump of makedumpfile", "makedumpfile -R DUMP < FILE makes an ordinary dump of it, which crash and drgn read; " +
			"physgdb reads RAM as it is", 0, []string{"makedumpfile\x00\x00\x00\x00"}},
		{"a dump of LiME in its own format", "take it with format=padded: format=raw leaves out what lies between the ranges of RAM", 0,
			[]string{"EMiL"}},
		{"a dump of AVML", "avml-convert --format raw FILE RAM makes RAM as it is of it", 0, []string{"AVML"}},
		{"a migration stream of QEMU", dumpVM, 0, []string{"QEVM"}},
		{"a machine saved by libvirt", "virsh restore it, then virsh dump --memory-only", 0, []string{"LibvirtQemudSave"}},
		{"a machine that libvirt has not saved to the end", dumpVM, 0, []string{"LibvirtQemudPart"}},
		{"a qcow2 image of a disk", asDisk, 0, []string{"QFI\xfb"}},
		{"a VMDK image of a disk", asDisk, 0, []string{"KDMV", "# Disk DescriptorFile"}},
		{"a suspended machine or a snapshot of VMware", "take the .vmem file of the same name, which is RAM; if there is none, " +
			"vmss2core makes a core of it", 0, []string{
			"\xd0\xbe\xd2\xbe", "\xd1\xba\xd1\xba", "\xd2\xbe\xd2\xbe", "\xd3\xbe\xd3\xbe", "\xd2\xba\xd2\xba"}},
		{"a saved machine of VirtualBox", asCore + "VBoxManage debugvm NAME dumpvmcore", 0, []string{"\x7fVirtualBox SavedState"}},
		{"an old core of Xen", asCore + "xl dump-core", 0, []string{"\xed\xeb\x0f\xf0", "\xee\xeb\x0f\xf0"}},
		{"a crash dump of Windows", noLinux, 0, []string{"PAGEDU64", "PAGEDUMP"}},
		{"a swap device with a hibernated machine, or without", "want the RAM of the machine; physgdb does not read what hibernation wrote",
			4086, []string{"S1SUSPEND\x00", "SWAPSPACE2"}},
		{"compressed by gzip", fmt.Sprintf(unpack, "gzip -dc"), 0, []string{"\x1f\x8b\x08"}},
		{"compressed by zstd", fmt.Sprintf(unpack, "zstd -dc"), 0, []string{"\x28\xb5\x2f\xfd"}},
		{"compressed by xz", fmt.Sprintf(unpack, "xz -dc"), 0, []string{"\xfd7zXZ\x00"}},
		{"compressed by lz4", fmt.Sprintf(unpack, "lz4 -dc"), 0, []string{"\x04\x22\x4d\x18"}},
		{"compressed by bzip2", fmt.Sprintf(unpack, "bzip2 -dc"), 0, []string{"BZh"}},
		{"compressed by lzop", fmt.Sprintf(unpack, "lzop -dc"), 0, []string{"\x89LZO\x00\r\n"}},
		{"compressed by snappy", "unpack it first", 0, []string{"\xff\x06\x00\x00sNaPpY"}},
		{"compressed by zlib, as LiME does with compress=1", fmt.Sprintf(unpack, "pigz -dc"), 0, []string{"\x38\x8d", "\x78\x9c"}},
		{"a zip archive", fmt.Sprintf(unpack, "unzip -p"), 0, []string{"PK\x03\x04"}},
		{"a 7z archive", fmt.Sprintf(unpack, "7z x -so"), 0, []string{"7z\xbc\xaf\x27\x1c"}},
	}
}

// wrapped says of a file that holds something else than RAM as it is what it holds, and what to do.
// Memory itself begins with the vectors of real mode, or with what firmware left.
func wrapped(data []byte) error {
	if bytes.HasPrefix(data, []byte("\x7fELF")) {
		return errors.New(wrappedELF(data))
	}
	for _, c := range containers() {
		for _, magic := range c.magic {
			if len(data) >= c.at && bytes.HasPrefix(data[c.at:], []byte(magic)) {
				return fmt.Errorf("it is %s, not raw RAM: %s (?map=0:SIZE:0 reads it as raw RAM anyway)", c.what, c.advice)
			}
		}
	}
	return nil
}

// wrappedELF distinguishes a vmcore from a program.
func wrappedELF(data []byte) string {
	const typeAt, core = 16, 4 // e_type, ET_CORE
	if len(data) >= typeAt+2 && binary.LittleEndian.Uint16(data[typeAt:]) != core {
		return "it is an ELF program, not the RAM of a machine; a vmlinux is given by --vmlinux"
	}
	return "it is an ELF core, not RAM as it is: of a vmcore, say where the RAM lies by ?map=PA:SIZE:OFFSET,… with the " +
		"PhysAddr, FileSiz and Offset of each LOAD that readelf -lW shows"
}
