package debuginfo

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	alloc  = uint64(elf.SHF_ALLOC)
	writes = uint64(elf.SHF_ALLOC | elf.SHF_WRITE)
	code   = uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR)
)

// testSection is a section of a file that a test makes.
type testSection struct {
	name  string
	typ   elf.SectionType
	flags uint64
	addr  uint64
	data  string
}

// writeModule writes a relocatable file.
func writeModule(t *testing.T, path string, sections ...testSection) {
	t.Helper()
	var body bytes.Buffer
	body.Write(make([]byte, 64))
	names := "\x00"
	headers := []elf.Section64{{}}
	sections = append(sections, testSection{name: ".shstrtab", typ: elf.SHT_STRTAB})
	for i, s := range sections {
		at := uint32(len(names))
		names += s.name + "\x00"
		if i == len(sections)-1 {
			s.data = names
		}
		headers = append(headers, elf.Section64{Name: at, Type: uint32(s.typ), Flags: s.flags, Addr: s.addr,
			Off: uint64(body.Len()), Size: uint64(len(s.data))})
		body.WriteString(s.data)
	}
	header := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64,
		Shoff: uint64(body.Len()), Shentsize: 64, Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1)}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	file, err := binary.Append(body.Bytes(), binary.LittleEndian, headers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := binary.Encode(file, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
}

// testNote is an ELF note with a build-id of four bytes.
const testNote = "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xca\xfe\xba\xbe"

func TestModuleFiles(t *testing.T) {
	right := testSection{name: ".note.gnu.build-id", typ: elf.SHT_NOTE, flags: alloc, data: testNote}
	wrong := right
	wrong.data = strings.Replace(testNote, "\xca\xfe", "\xde\xad", 1)
	dwarf := testSection{name: ".debug_info", typ: elf.SHT_PROGBITS, data: "x"}
	dir := t.TempDir()
	for path, sections := range map[string][]testSection{
		"plain/kernel/drivers/net/a-b.ko": {right},
		"debug/1/a_b.ko":                  {right},
		"debug/2/a-b.ko.debug":            {right, dwarf},
		"debug/2/ab.ko":                   {right},
		"other/a_b.ko":                    {wrong},
		"none/a_b.ko":                     {dwarf},
		"tree/.build-id/ca/febabe.debug":  {right, dwarf},
		"bare/.build-id/ca/febabe.debug":  {right},
		"wrong/.build-id/ca/febabe.debug": {wrong, dwarf},
		"packed/a_b.ko.xz":                {right},
		"packed/a_b.ko.zst":               {right},
		"packed/a_b.ko.gz":                {right},
	} {
		writeModule(t, filepath.Join(dir, path), sections...)
	}
	if err := os.MkdirAll(filepath.Join(dir, "broken"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"broken/a_b.ko": "no ELF", "plain/a_b.ko.txt": "", "plain/.ko": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("plain", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		dirs string
		want string
		err  []string
	}{
		{"plain", "plain/kernel/drivers/net/a-b.ko", nil},
		{"link", "plain/kernel/drivers/net/a-b.ko", nil},
		{"plain debug", "debug/2/a-b.ko.debug", nil},
		{"other packed broken plain", "plain/kernel/drivers/net/a-b.ko", nil},
		{"debug bare tree", "tree/.build-id/ca/febabe.debug", nil},
		{"plain bare debug", "debug/2/a-b.ko.debug", nil},
		{"plain bare", "bare/.build-id/ca/febabe.debug", nil},
		{"wrong plain", "plain/kernel/drivers/net/a-b.ko", nil},
		{"wrong", "", []string{"febabe.debug is from another build: its build-id is deadbabe, memory has cafebabe"}},
		{"other", "", []string{"other/a_b.ko is from another build: its build-id is deadbabe, memory has cafebabe"}},
		{"none", "", []string{"its build-id is , memory has cafebabe"}},
		{"packed", "", []string{"a_b.ko.xz is compressed", "unxz -k", "a_b.ko.zst", "unzstd", "a_b.ko.gz", "gunzip -k"}},
		{"broken", "", []string{"broken/a_b.ko: is not an ELF file"}},
	} {
		var dirs []string
		for _, d := range strings.Fields(tc.dirs) {
			dirs = append(dirs, filepath.Join(dir, d))
		}
		files := NewModuleFiles("0.0-none", dirs)
		got, err := files.Find(context.Background(), "a_b", []byte("\xca\xfe\xba\xbe"))
		if tc.err == nil {
			if want := filepath.Join(dir, tc.want); err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", tc.dirs, got, err, want)
			}
			continue
		}
		if !errors.Is(err, ErrNoModuleFile) {
			t.Errorf("%s: %v, want %v", tc.dirs, err, ErrNoModuleFile)
		}
		for _, want := range tc.err {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: %v, want %q", tc.dirs, err, want)
			}
		}
	}
}

func TestModuleFilesThatAreNotFound(t *testing.T) {
	dir := t.TempDir()
	known := []byte{1}
	for _, tc := range []struct {
		name    string
		release string
		dir     string
		id      []byte
		want    string
	}{
		{"nowhere", "0.0-none", dir, known, "there is no a.ko in " + dir + ", /usr/lib/debug/lib/modules/0.0-none, "},
		{"a release that leads elsewhere", "../../etc", dir, known, "there is no a.ko in " + dir},
		{"no directory", "0.0-none", dir + "/nothing", known, "no such file"},
		{"no build-id", "0.0-none", dir, nil, "its build-id is not known"},
	} {
		_, err := NewModuleFiles(tc.release, []string{tc.dir}).Find(context.Background(), "a", tc.id)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "etc") {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := NewModuleFiles("", []string{dir}).Find(canceled, "a", known)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestModuleFileHasSectionsAtZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ko")
	sections := []testSection{
		{".text", elf.SHT_PROGBITS, code, 0, "code"}, {".data", elf.SHT_PROGBITS, writes, 0x880, "data"},
		{".bss", elf.SHT_NOBITS, writes, 0x900, ""},
	}
	writeModule(t, path, sections...)
	f, err := OpenModuleFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !f.Moved || f.Debug {
		t.Errorf("moved %v, DWARF %v", f.Moved, f.Debug)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sections {
		sections[i].addr = 0
	}
	writeModule(t, path+".0", sections...)
	want, err := os.ReadFile(path + ".0")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs from one that has its sections at 0: %d bytes, %d; %v", len(got), len(want), err)
	}
	for off := range int64(len(want)) { // in small pieces too
		var p [5]byte
		n, err := f.ReadAt(p[:], off)
		if !bytes.Equal(p[:n], want[off:min(len(want), int(off)+5)]) || n < 5 && !errors.Is(err, io.EOF) {
			t.Errorf("at %d: %q, %v", off, p[:n], err)
		}
	}
	original, err := OpenModuleFile(path + ".0")
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	if original.Moved {
		t.Error("a file with its sections at 0 counts as moved")
	}
}

func TestModuleFilesThatAreRejected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ko")
	writeModule(t, path)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(p []byte) []byte{
		"a program":        func(p []byte) []byte { p[16] = byte(elf.ET_EXEC); return p },
		"another machine":  func(p []byte) []byte { p[18] = byte(elf.EM_AARCH64); return p },
		"cut off":          func(p []byte) []byte { return p[:100] },
		"sections nowhere": func(p []byte) []byte { p[46] = 0xff; return p },
		"more sections than a header can count": func(p []byte) []byte {
			const many = 0xff00 // from so many on, the size of the first one is their number
			binary.LittleEndian.PutUint16(p[60:], 0)
			binary.LittleEndian.PutUint64(p[binary.LittleEndian.Uint64(p[40:])+32:], many)
			return append(p, make([]byte, many*64)...)
		},
	} {
		if err := os.WriteFile(path, harm(bytes.Clone(file)), 0o644); err != nil {
			t.Fatal(err)
		}
		if f, err := OpenModuleFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}
