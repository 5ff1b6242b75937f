package gdbstub_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"physgdb/gdbstub"
	"physgdb/gdbstub/rsp"
)

// archive is a machine with files.
type archive struct {
	*able
	files map[string]string
	open  atomic.Int32 // files that are
}

// archived is an open file that wants to be closed.
type archived struct {
	*bytes.Reader
	of *archive
}

func (f *archived) Close() error {
	f.of.open.Add(-1)
	return nil
}

func (a *archive) OpenFile(_ context.Context, name string) (gdbstub.File, error) {
	content, ok := a.files[name]
	switch {
	case name == "/torn":
		return nil, errors.New("the list is torn")
	case !ok:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	a.open.Add(1)
	return &archived{bytes.NewReader([]byte(content)), a}, nil
}

// nasty is a content in which every byte must be escaped, longer than what a packet holds.
var nasty = strings.Repeat("#$}*", 100<<10)

func newArchive() *archive {
	return &archive{able: newAble(), files: map[string]string{"/a": "hello, file\n", "/empty": "", "/nasty": nasty}}
}

func openPacket(name string) string { return fmt.Sprintf("vFile:open:%x,0,1c0", name) }

func TestFiles(t *testing.T) {
	c := connect(t, newArchive())
	for _, step := range []struct{ packet, want string }{
		{"vFile:setfs:0", "F0"},
		{openPacket("just probing"), "F-1,2"},
		{openPacket("/a"), "F0"},
		{openPacket("/empty"), "F1"},
		{openPacket("/torn"), "F-1,5"},
		{"vFile:pread:0,5,0", "F5;hello"},
		{"vFile:pread:0,ffff,7", "F5;file\n"},
		{"vFile:pread:0,5,c", "F0;"},
		{"vFile:pread:0,5,ffffffffffffffff", "F0;"},
		{"vFile:pread:0,0,0", "F0;"},
		{"vFile:pread:1,5,0", "F0;"},
		{"vFile:pread:2,5,0", "F-1,9"},
		{"vFile:pread:0,5", "F-1,16"},
		{"vFile:pread:0,x,0", "F-1,16"},
		{"vFile:close:0", "F0"},
		{"vFile:close:0", "F-1,9"},
		{"vFile:close:", "F-1,9"},
		{"vFile:pread:0,5,0", "F-1,9"},
		{"vFile:fstat:0", "F-1,9"},
		{openPacket("/a"), "F0"}, // a descriptor is used again
		{"vFile:readlink:2f61", "F-1,16"},
		{"vFile:unlink:2f61", "F-1,1e"},
		{"vFile:pwrite:0,0,x", "F-1,1e"},
		{"vFile:open:2f61,1,1c0", "F-1,1e"},
		{"vFile:open:2f61,601,1c0", "F-1,1e"},
		{"vFile:open:2f6,0,1c0", "F-1,16"},
		{"vFile:open:2f61,0", "F-1,16"},
		{"vFile:open:" + strings.Repeat("61", 5000) + ",0,0", "F-1,16"},
		{"vFile:stat:2f61", ""},
		{"vFile:open", ""},
		{"vFile", ""},
	} {
		c.expect(step.packet, step.want)
	}
}

func TestWithoutFilesVFileIsUnknown(t *testing.T) {
	c := connect(t, newAble())
	for _, packet := range []string{"vFile:setfs:0", openPacket("just probing"), "vFile:close:0"} {
		c.expect(packet, "")
	}
}

func TestFileStatus(t *testing.T) {
	c := connect(t, newArchive())
	c.expect(openPacket("/nasty"), "F0")
	head, rest, _ := strings.Cut(c.ask("vFile:fstat:0"), ";")
	stat, err := rsp.AppendUnescaped(nil, []byte(rest))
	if err != nil || head != "F40" || len(stat) != 0x40 {
		t.Fatalf("%s; %d bytes, %v", head, len(stat), err)
	}
	if mode := binary.BigEndian.Uint32(stat[8:]); mode != 0o100444 {
		t.Errorf("mode %o", mode)
	}
	if size, blocks := binary.BigEndian.Uint64(stat[28:]), binary.BigEndian.Uint64(stat[44:]); size != 400<<10 || blocks != 800 {
		t.Errorf("%d bytes in %d blocks", size, blocks)
	}
}

func TestFilesFitIntoPackets(t *testing.T) {
	c := connect(t, newArchive())
	c.expect(openPacket("/nasty"), "F0")
	var content []byte
	for len(content) < len(nasty) {
		answer := c.ask(fmt.Sprintf("vFile:pread:0,ffffffff,%x", len(content)))
		if len(answer) > rsp.DefaultLimit {
			t.Fatalf("an answer of %d bytes", len(answer))
		}
		_, rest, _ := strings.Cut(answer, ";")
		if rest == "" {
			t.Fatalf("%q after %d bytes", answer, len(content))
		}
		content, _ = rsp.AppendUnescaped(content, []byte(rest))
	}
	if string(content) != nasty {
		t.Error("the content is another one")
	}
}

func TestFilesAreBoundedAndClosed(t *testing.T) {
	a := newArchive()
	t.Run("connection", func(t *testing.T) {
		c := pipe(t, a)
		n := 0
		for c.ask(openPacket("/a")) != "F-1,18" { // EMFILE
			if n++; n > 10000 {
				t.Fatal("there is no bound")
			}
		}
		if n < 500 { // a machine may have as many modules
			t.Errorf("only %d files can be open", n)
		}
		c.expect("vFile:close:3", "F0")
		c.expect(openPacket("/a"), "F3")
	})
	if n := a.open.Load(); n != 0 {
		t.Errorf("%d files are open when the connection has ended", n)
	}
}

func TestGdbFetchesFiles(t *testing.T) {
	dir := t.TempDir()
	got := filepath.Join(dir, "got")
	out := gdb(t, "target remote "+serve(t, open(newArchive()), nil), "remote get /nasty "+got, "remote get /none "+got+"2",
		"remote get /torn "+got+"2", "remote put "+got+" /a", "remote delete /a")
	content, err := os.ReadFile(got)
	if err != nil || string(content) != nasty {
		t.Errorf("gdb fetched %d bytes, %v", len(content), err)
	}
	if strings.Count(out, "Read-only file system") != 2 || !strings.Contains(out, "No such file") {
		t.Error("gdb does not print why it fails")
	}
}

// TestGdbLoadsModulesFromTheTarget as it does by default, wherever the files lie for the server.
func TestGdbLoadsModulesFromTheTarget(t *testing.T) {
	kernel, m := buildKernel(t), buildModule(t, 0xffffffffc0800000)
	ko, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	inner := newKernel(t, kernel)
	inner.memory = append(inner.memory, m.memory...)
	inner.libraries = []gdbstub.Library{{Name: "/only/there/module.ko", Sections: m.sections}}
	target := &archive{able: inner, files: map[string]string{"/only/there/module.ko": string(ko)}}
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(target), nil), "info sharedlibrary", "p mod_counter")
	for _, want := range []string{"Yes         target:/only/there/module.ko", "$1 = 7"} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
}

// FuzzVFile: whatever is sent, each answer is one of the protocol's, and no file stays open.
func FuzzVFile(f *testing.F) {
	for _, seed := range []string{
		"open:2f61,0,0\npread:0,100,0\nclose:0", "open:2f61,0,0\nopen:2f61,0,0\nfstat:1", "setfs:0\nreadlink:2f",
		"pread:0,ffffffffffffffff,ffffffffffffffff", "open:,,\nopen:2f61,fffffffffffffffff,0", "close:fffffffffffffffff", ":",
		"open:2f6e61737479,0,0\npread:0,ffffffff,3",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		a := newArchive()
		t.Run("connection", func(t *testing.T) {
			c := pipe(t, a)
			for line := range bytes.SplitSeq(script, []byte("\n")) {
				if c.wire.Write(append([]byte("vFile:"), line...)) != nil {
					continue // not a packet
				}
				if answer := c.receive(); answer != "" && answer[0] != 'F' || len(answer) > rsp.DefaultLimit {
					t.Errorf("%q is answered %.100q", line, answer)
				}
			}
		})
		if n := a.open.Load(); n != 0 {
			t.Errorf("%d files are left open: %s", n, hex.EncodeToString(script))
		}
	})
}
