package dump_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/bridge"
)

// refusal opens a source that must be refused and returns the error.
func refusal(t *testing.T, path string) string {
	t.Helper()
	m, err := openSource(path)
	if err == nil {
		m.Close()
		t.Fatal("it was opened")
	}
	return err.Error()
}

// TestFilesThatAreNotRAM begin as such files do. The bytes are those of the formats' own documents,
// not of the code.
func TestFilesThatAreNotRAM(t *testing.T) {
	core := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9)
	for _, tc := range []struct{ name, start, what, advice string }{
		{"vmcore", core + "\x04\x00", "an ELF core", "?map=PA:SIZE:OFFSET,… with the PhysAddr"},
		{"vmlinux", core + "\x02\x00", "an ELF program", "--vmlinux"},
		{"PIE", core + "\x03\x00", "an ELF program", "--vmlinux"},
		{"kdump", "KDUMP   \x06\x00\x00\x00", "a kdump-compressed dump", "crash and drgn"},
		{"diskdump", "DISKDUMP\x01\x00\x00\x00", "a kdump-compressed dump", "crash and drgn"},
		{"flattened", "makedumpfile\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "a flattened dump", "makedumpfile -R"},
		{"LiME", "EMiL\x01\x00\x00\x00", "a dump of LiME", "format=padded: format=raw leaves out"},
		{"AVML", "AVML\x02\x00\x00\x00", "a dump of AVML", "avml-convert --format raw"},
		{"QEMU", "QEVM\x00\x00\x00\x03", "a migration stream of QEMU", "virsh dump --memory-only"},
		{"libvirt", "LibvirtQemudSave\x02\x00\x00\x00", "saved by libvirt", "virsh restore"},
		{"libvirt, unfinished", "LibvirtQemudPart\x02\x00\x00\x00", "has not saved to the end", "virsh dump"},
		{"qcow2", "QFI\xfb\x00\x00\x00\x03", "a qcow2 image of a disk", "the RAM of the machine"},
		{"VMDK", "KDMV\x01\x00\x00\x00", "a VMDK image of a disk", "the RAM of the machine"},
		{"VMware 0xbed2bed0", "\xd0\xbe\xd2\xbe\x08\x00\x00\x00", "of VMware", ".vmem"},
		{"VMware 0xbad1bad1", "\xd1\xba\xd1\xba\x08\x00\x00\x00", "of VMware", ".vmem"},
		{"VMware 0xbed2bed2", "\xd2\xbe\xd2\xbe\x08\x00\x00\x00", "of VMware", ".vmem"},
		{"VMware 0xbed3bed3", "\xd3\xbe\xd3\xbe\x08\x00\x00\x00", "of VMware", ".vmem"},
		{"VirtualBox", "\x7fVirtualBox SavedState V2.0\n", "of VirtualBox", "dumpvmcore"},
		{"Xen", "\xed\xeb\x0f\xf0", "an old core of Xen", "xl dump-core"},
		{"Windows", "PAGEDU64", "a crash dump of Windows", "Linux alone"},
		{"Windows, 32 bits", "PAGEDUMP", "a crash dump of Windows", "Linux alone"},
		{"hibernated", strings.Repeat("\x00", 4086) + "S1SUSPEND\x00", "hibernated", "the RAM of the machine"},
		{"swap", strings.Repeat("\x00", 4086) + "SWAPSPACE2", "swap device", "the RAM of the machine"},
		{"snappy", "\xff\x06\x00\x00sNaPpY", "compressed by snappy", "unpack it first"},
		{"lzop", "\x89LZO\x00\r\n\x1a\n", "compressed by lzop", "lzop -dc"},
		{"zlib", "\x78\x9c\x03\x00", "compressed by zlib", "pigz -dc"},
		{"LiME compress=1", "\x38\x8d\x03\x00", "compressed by zlib", "pigz -dc"},
		{"7z", "7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive", "7z x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := refusal(t, writeFile(t, []byte(tc.start)))
			if !strings.Contains(got, tc.what) || !strings.Contains(got, tc.advice) || strings.Contains(got, "\n") {
				t.Errorf("%s; want %q and %q in one line", got, tc.what, tc.advice)
			}
		})
	}
}

// FuzzFile opens any file under any map, in two pieces, and reads what it says is RAM.
func FuzzFile(f *testing.F) {
	f.Add([]byte("lowlowHIGH"), uint8(4), "0x100:6:0,0x100000000:4:6")
	f.Add([]byte("EMiL\x01"), uint8(1), "")
	f.Add([]byte("lowHIGH"), uint8(3), "0:8:18446744073709551615")
	f.Fuzz(func(t *testing.T, content []byte, cut uint8, layout string) {
		if len(content) < 2 || strings.ContainsAny(layout, "&;%+#") {
			return
		}
		at := 1 + int(cut)%(len(content)-1)
		source := "file:" + writeFile(t, content[:at]) + "?file=" + writeFile(t, content[at:])
		if layout != "" {
			source += "&map=" + layout
		}
		m, err := openSource(source)
		if err != nil {
			return
		}
		defer m.Close()
		var sum uint64
		for _, r := range m.Info().RAM {
			p := make([]byte, r.Size())
			if n, err := bridge.Read(ctx, m, r.Start, p, false); n != len(p) || err != nil {
				t.Errorf("%v: %d bytes, %v", r, n, err)
			}
			sum += r.Size()
		}
		if data := bridge.DataOf(m); sum == 0 || data.Size() > sum {
			t.Errorf("%d bytes of RAM, data in %v", sum, data)
		}
	})
}

// TestFilesOfRealTools are made by those tools that are here.
func TestFilesOfRealTools(t *testing.T) {
	for _, tc := range []struct{ command, want string }{
		{"gzip -c RAM > OUT", "compressed by gzip"},
		{"xz -c RAM > OUT", "compressed by xz"},
		{"bzip2 -c RAM > OUT", "compressed by bzip2"},
		{"zstd -qc RAM > OUT", "compressed by zstd"},
		{"lz4 -qc RAM > OUT", "compressed by lz4"},
		{"lzop -c RAM > OUT", "compressed by lzop"},
		{"zip -q - RAM > OUT", "a zip archive"},
		{"qemu-img convert -f raw -O qcow2 RAM OUT", "a qcow2 image"},
		{"qemu-img convert -f raw -O vmdk RAM OUT", "a VMDK image"},
		{"mkswap -q OUT", "a swap device"},
	} {
		t.Run(tc.command, func(t *testing.T) {
			tool, _, _ := strings.Cut(tc.command, " ")
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			ram, out := filepath.Join(dir, "ram"), filepath.Join(dir, "out")
			if err := os.WriteFile(ram, []byte(strings.Repeat("RAM!", 1<<14)), 0o600); err != nil {
				t.Fatal(err)
			}
			if tool == "mkswap" {
				if err := os.WriteFile(out, make([]byte, 1<<20), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("sh", "-c", strings.NewReplacer("RAM", ram, "OUT", out).Replace(tc.command))
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if got := refusal(t, out); !strings.Contains(got, tc.want) {
				t.Errorf("%s; want %q in it", got, tc.want)
			}
		})
	}
}
