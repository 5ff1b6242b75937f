package dwarf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/btf"
	"physgdb/symbols/internal/symtest"
)

// typeSource has what members can be: anonymous, typedefs, arrays of arrays, without length, bits.
const typeSource = `
#include <stddef.h>
#include <stdio.h>
typedef const volatile unsigned long word;
typedef struct { int counter; } count_t;
enum state { RUNNING, STOPPED = 4, DEAD = -1, LARGE = 0x40000000 };
enum named_only_here { FIRST = 7 };
union either { char bytes[16]; struct { short low, high; }; };
struct incomplete;
struct link { struct link *next, **prev; };
struct outer {
	char name[16];
	struct link list;
	union { struct { word first; int second; }; count_t anonymous; };
	int grid[3][5];
	struct { long x; union either inner[4]; } points[2];
	unsigned flag : 3, rest : 29;
	enum state state;
	struct incomplete *pointer;
	void (*function)(struct outer *);
	_Atomic long atomic;
	word after;
	int tail[];
};
typedef struct outer alias;
struct rq { int nr; };
static struct { int unnamed; } nameless;
struct outer *used; union either e; enum named_only_here n; struct rq r; alias *a;
`

// typeFields are members of typeSource by their paths.
var typeFields = map[string][]string{
	"outer": {"name", "name[3]", "list", "list.next", "list.prev", "first", "second", "anonymous", "anonymous.counter",
		"grid", "grid[1]", "grid[2][4]", "points", "points[1]", "points[1].x", "points[1].inner[2].low", "points[0].inner",
		"state", "pointer", "function", "atomic", "after"},
	"either":  {"bytes", "bytes[15]", "low", "high"},
	"link":    {"next"},
	"alias":   {"after"},
	"count_t": {"counter"},
	"rq":      {"nr"},
}

// TestDWARFAgreesWithTheCompiler compares with what a program says that is compiled from the same
// types.
func TestDWARFAgreesWithTheCompiler(t *testing.T) {
	var body strings.Builder
	typed := map[string]string{"outer": "struct outer", "either": "union either", "link": "struct link", "rq": "struct rq"}
	var order [][2]string
	for typ, paths := range typeFields {
		c := typed[typ]
		if c == "" {
			c = typ
		}
		for _, path := range paths {
			fmt.Fprintf(&body, "printf(\"%%zu %%zu\\n\", offsetof(%s, %s), sizeof(((%s *)0)->%s));\n", c, path, c, path)
			order = append(order, [2]string{typ, path})
		}
	}
	source := typeSource + "int main(void) { (void)nameless;\n" + body.String() + "}"
	for _, flags := range [][]string{{"-gdwarf-5"}, {"-gdwarf-4"}, {"-gdwarf-5", "-gdwarf64"}, {"-g", "-flto"}} {
		program := symtest.Compile(t, source, flags...)
		var printed []symbols.Field
		for line := range strings.Lines(symtest.Tool(t, "", program)) {
			var f symbols.Field
			if _, err := fmt.Sscan(line, &f.Offset, &f.Size); err != nil {
				t.Fatal(err)
			}
			printed = append(printed, f)
		}
		d, err := OpenTypes(program)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for i, o := range order {
			got, err := d.Field(o[0], o[1])
			if err != nil || got.Offset != printed[i].Offset || got.Size != printed[i].Size {
				t.Errorf("%v: %s.%s: %+v, %v; want %+v", flags, o[0], o[1], got, err, printed[i])
			}
		}
	}
}

func openTypes(t testing.TB) *Types {
	d, err := OpenTypes(symtest.Compile(t, typeSource+"int main(void) { return nameless.unnamed; }", "-g"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDWARFArrays(t *testing.T) {
	d := openTypes(t)
	for path, want := range map[string][2]uint64{ // size of an element, how many
		"name": {1, 16}, "grid": {20, 3}, "grid[1]": {4, 5}, "grid[1][1]": {4, 1}, "tail": {4, 0}, "tail[2]": {4, 1},
		"points": {72, 2}, "state": {4, 1}, "list": {16, 1},
	} {
		f, err := d.Field("outer", path)
		if err != nil || f.Elem != want[0] || f.Size != want[0]*want[1] {
			t.Errorf("%s: %+v, %v; want %v", path, f, err, want)
		}
	}
}

func TestDWARFSizesAndConstants(t *testing.T) {
	d := openTypes(t)
	for typ, want := range map[string]uint64{"either": 16, "link": 16, "count_t": 4, "rq": 4} {
		if got, err := d.Size(typ); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", typ, got, err, want)
		}
	}
	for _, tc := range []struct {
		typ, constant string
		want          int64
	}{
		{"state", "RUNNING", 0}, {"state", "STOPPED", 4}, {"state", "DEAD", -1}, {"state", "LARGE", 0x40000000},
		{"named_only_here", "FIRST", 7},
	} {
		if got, err := d.Enum(tc.typ, tc.constant); got != tc.want || err != nil {
			t.Errorf("%s.%s: %d, %v; want %d", tc.typ, tc.constant, got, err, tc.want)
		}
	}
}

func TestDWARFDoesNotFind(t *testing.T) {
	d := openTypes(t)
	for _, tc := range []struct {
		typ, path string
		want      error
	}{
		{"nothing", "x", symbols.ErrNoType},
		{"incomplete", "x", symbols.ErrNoType},
		{"state", "RUNNING", symbols.ErrNoType},
		{"word", "x", symbols.ErrNoType},
		{"main", "x", symbols.ErrNoType},
		{"", "x", symbols.ErrNoType},
		{"outer", "nothing", symbols.ErrNoMember},
		{"outer", "name.x", symbols.ErrNoMember},
		{"outer", "name[1][1]", symbols.ErrNoMember},
		{"outer", "pointer.x", symbols.ErrNoMember},
		{"outer", "list.next.next", symbols.ErrNoMember},
		{"outer", "flag", symbols.ErrNoMember},
	} {
		if f, err := d.Field(tc.typ, tc.path); !errors.Is(err, tc.want) {
			t.Errorf("%s.%s: %+v, %v", tc.typ, tc.path, f, err)
		}
	}
	if _, err := d.Size("state"); !errors.Is(err, symbols.ErrNoType) {
		t.Errorf("size of an enumeration: %v", err)
	}
	if _, err := d.Enum("outer", "name"); !errors.Is(err, symbols.ErrNoType) {
		t.Errorf("constant of a struct: %v", err)
	}
	if _, err := d.Enum("state", "nothing"); !errors.Is(err, symbols.ErrNoMember) {
		t.Errorf("no such constant: %v", err)
	}
	if _, err := d.Field("outer", "name["); err == nil {
		t.Error("a path that is none was followed")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Field("outer", "name"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := d.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// TestDWARFAgreesWithBTF asks both about what reading a kernel needs. pahole made the BTF of the
// DWARF long before.
func TestDWARFAgreesWithBTF(t *testing.T) {
	symtest.OnVmlinux(t, func(t *testing.T, path string) {
		b, err := symtest.Read(path, btf.Read)
		if err != nil {
			t.Fatal(err)
		}
		d, err := OpenTypes(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		found := 0
		for _, field := range []string{
			"task_struct.pid", "task_struct.tgid", "task_struct.comm", "task_struct.comm[3]", "task_struct.thread.sp",
			"task_struct.stack", "task_struct.tasks", "task_struct.signal", "task_struct.thread_node", "task_struct.cred",
			"task_struct.se.run_node", "task_struct.__state", "task_struct.in_execve", "signal_struct.thread_head",
			"module.list", "module.name", "module.mem[1].size", "module.mem[1].base", "module.core_layout.base",
			"module.arch.orc_unwind_ip", "module.sect_attrs", "printk_info.seq", "printk_info.text_len",
			"printk_info.dev_info.subsystem", "printk_ringbuffer.desc_ring.head_id", "rq.curr", "rq.idle",
			"pcpu_hot.current_task",
			"mm_struct.pgd", "mm_struct.mm_mt.ma_root", "maple_node.slot", "maple_node.mr64.pivot", "maple_node.ma64.gap",
			"vm_area_struct.vm_start", "vm_area_struct.vm_file", "file.f_inode", "file.f_path.dentry", "dentry.d_iname",
			"dentry.d_name.len", "inode.i_mapping", "address_space.i_pages.xa_head", "xa_node.slots[63]", "page.compound_head",
			"page.lru", "pid.numbers[0].nr", "pt_regs.ip", "inactive_task_frame.ret_addr", "tss_struct.x86_tss.sp0",
			"cpu_entry_area.estacks", "uts_namespace.name.release", "list_head.next", "spinlock_t.rlock", "atomic_t.counter",
			"orc_entry.type", "net.ipv4.sysctl_tcp_rmem[1]", "no_such_struct.member",
		} {
			typ, member, _ := strings.Cut(field, ".")
			got, err := d.Field(typ, member)
			want, wantErr := b.Field(typ, member)
			if got != want || errors.Is(err, symbols.ErrNoMember) != errors.Is(wantErr, symbols.ErrNoMember) ||
				errors.Is(err, symbols.ErrNoType) != errors.Is(wantErr, symbols.ErrNoType) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: %+v, %v by DWARF; %+v, %v by BTF", field, got, err, want, wantErr)
			}
			if err == nil {
				found++
			}
		}
		for _, typ := range []string{"task_struct", "page", "module", "maple_node", "atomic_t", "pid_type"} {
			got, err := d.Size(typ)
			want, wantErr := b.Size(typ)
			if got != want || errors.Is(err, symbols.ErrNoType) != errors.Is(wantErr, symbols.ErrNoType) {
				t.Errorf("size of %s: %d, %v by DWARF; %d, %v by BTF", typ, got, err, want, wantErr)
			}
		}
		for _, constant := range []string{
			"maple_type.maple_arange_64", "pid_type.PIDTYPE_TGID", "pid_type.none", "no_such_enum.x",
		} {
			typ, name, _ := strings.Cut(constant, ".")
			got, err := d.Enum(typ, name)
			want, wantErr := b.Enum(typ, name)
			if got != want || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: %d, %v by DWARF; %d, %v by BTF", constant, got, err, want, wantErr)
			}
		}
		t.Logf("%d members are equal; %d units were decoded", found, len(d.units))
		if found < 40 {
			t.Error("too few to compare")
		}
	})
}

func FuzzDWARF(f *testing.F) {
	addSections(f, symtest.Compile(f, typeSource, "-gdwarf-5", "-c"), symtest.Compile(f, typeSource, "-gdwarf-4", "-c"))
	f.Fuzz(func(t *testing.T, abbrev, info, line, str, lineStr, ranges, rnglists, aranges []byte, _ uint64) {
		d := newTypes(fuzzedFile(abbrev, info, line, str, lineStr, ranges, rnglists, aranges))
		for typ, paths := range typeFields {
			for _, path := range paths {
				d.Field(typ, path)
			}
			d.Size(typ)
		}
		d.Enum("state", "DEAD")
	})
}

// BenchmarkDWARFTypes asks a newly opened kernel for one member of each of some structs.
func BenchmarkDWARFTypes(b *testing.B) {
	for b.Loop() {
		d, err := OpenTypes(symtest.Vmlinuxes(b)[0])
		if err != nil {
			b.Fatal(err)
		}
		for typ, path := range map[string]string{"task_struct": "pid", "module": "list", "printk_info": "seq", "rq": "curr"} {
			if _, err := d.Field(typ, path); err != nil {
				b.Fatal(err)
			}
		}
		d.Close()
	}
}
