package elfsynth

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"physgdb/symbols"
)

// Functions of a kernel that keeps frame pointers, 0x100 bytes each. entry is code that saves
// registers.
const (
	fpText                                                       = 0xffffffff81000000
	fpStart, fpIdle, fpHandle, fpVector, fpWrite, fpLeaf, fpFork = fpText, fpText + 0x100, fpText + 0x200, fpText + 0x300,
		fpText + 0x400, fpText + 0x500, fpText + 0x1000
	fpException, fpSyscall, fpEnd = fpText + 0x1100, fpText + 0x1200, fpText + 0x1300
)

func framedKernel() *Program {
	p := &Program{Name: "vmlinux", LoadOffset: 0xffffffff80000000, FramePointers: true, Sections: []Section{
		{Name: ".nothing", Size: 1, PerCPU: true}, {Name: ".text", Addr: fpText, Size: 0x2000, Exec: true},
	}}
	for name, addr := range map[string]uint64{
		"secondary_startup_64": fpStart, "do_idle": fpIdle, "handle": fpHandle, "sysvec": fpVector, "write": fpWrite,
		"leaf": fpLeaf, "__entry_text_start": fpFork - 0x10, "ret_from_fork_asm": fpFork, "asm_sysvec": fpException,
		"entry_SYSCALL_64": fpSyscall, "__entry_text_end": fpEnd,
	} {
		p.Symbols = append(p.Symbols, symbols.Symbol{Name: name, Addr: addr, Func: !strings.HasPrefix(name, "_")})
	}
	return p
}

// deadStack is memory and registers of a task, as a core file has them.
type deadStack struct {
	words map[uint64]uint64
	code  map[uint64][]byte
	regs  map[symbols.Reg]uint64
}

// Where the stacks of a task and of its CPU's interrupts are, 64 KiB apart at least.
const taskStack, irqStack = 0xffffc90000100000, 0xffffc90000200000

// put writes words from an address on.
func (d *deadStack) put(at uint64, words ...uint64) {
	for i, w := range words {
		d.words[at+8*uint64(i)] = w
	}
}

// putRegs writes a struct pt_regs.
func (d *deadStack) putRegs(at, rip, cs, rsp, ss, rbp uint64) {
	d.put(at+32, rbp)
	d.put(at+120, ^uint64(0), rip, cs, 0x246, rsp, ss)
}

// write makes a core file (ELF gABI; struct elf_prstatus, include/linux/elfcore.h).
func (d *deadStack) write(t *testing.T, path string) {
	t.Helper()
	pages := map[uint64][]byte{}
	poke := func(at uint64, data []byte) {
		for _, c := range data {
			page := at &^ 0xfff
			if pages[page] == nil {
				pages[page] = make([]byte, 0x1000)
			}
			pages[page][at&0xfff] = c
			at++
		}
	}
	for at, w := range d.words {
		poke(at, binary.LittleEndian.AppendUint64(nil, w))
	}
	for at, c := range d.code {
		poke(at, c)
	}
	const status, regsAt = 336, 112
	note := append(binary.LittleEndian.AppendUint32(nil, 5), make([]byte, 4+4+8+status)...)
	binary.LittleEndian.PutUint32(note[4:], status)
	binary.LittleEndian.PutUint32(note[8:], 1) // NT_PRSTATUS
	copy(note[12:], "CORE")
	binary.LittleEndian.PutUint32(note[20+32:], 1) // pid
	order := []symbols.Reg{symbols.R15, symbols.R14, symbols.R13, symbols.R12, symbols.RBP, symbols.RBX, symbols.R11, symbols.R10,
		symbols.R9, symbols.R8, symbols.RAX, symbols.RCX, symbols.RDX, symbols.RSI, symbols.RDI, symbols.CFA, symbols.RIP, cs,
		rflags, symbols.RSP, ss}
	for i, r := range order {
		binary.LittleEndian.PutUint64(note[20+regsAt+8*i:], d.regs[r])
	}
	addrs := slices.Sorted(func(yield func(uint64) bool) {
		for a := range pages {
			if !yield(a) {
				return
			}
		}
	})
	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) }
	n := len(addrs) + 1
	at := uint64(64 + 56*n)
	put(elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, byte(elf.ELFOSABI_LINUX)}, Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64),
		Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(n)})
	put(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: at, Filesz: uint64(len(note)), Align: 4})
	at += uint64(len(note))
	for _, a := range addrs {
		put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: 7, Off: at, Vaddr: a, Filesz: 0x1000, Memsz: 0x1000, Align: 1})
		at += 0x1000
	}
	out.Write(note)
	for _, a := range addrs {
		out.Write(pages[a])
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// at makes the state of a CPU.
func at(rip, rsp, rbp uint64) *deadStack {
	return &deadStack{words: map[uint64]uint64{}, code: map[uint64][]byte{}, regs: map[symbols.Reg]uint64{
		symbols.RIP: rip, symbols.RSP: rsp, symbols.RBP: rbp, cs: 0x10, ss: 0x18, rflags: 0x246,
	}}
}

const fpUser = 0x401000

// framedStacks are stacks of a kernel that keeps frame pointers, and the functions on them.
func framedStacks() map[string]struct {
	dead *deadStack
	want string
} {
	const ret = 0x40 // where in a function its call returns to
	const task, irq = uint64(taskStack + 0x800), uint64(irqStack + 0x800)
	system := func(d *deadStack) { // write, called by a system call
		d.put(task, 0, fpSyscall+ret)
		d.putRegs(task+16, fpUser, 0x33, 0x7ffc00001000, 0x2b, 0x1234)
	}
	stacks := map[string]struct {
		dead *deadStack
		want string
	}{}
	add := func(name, want string, d *deadStack) {
		stacks[name] = struct {
			dead *deadStack
			want string
		}{d, want}
	}
	d := at(fpHandle+0x20, task-0x50, task-0x40)
	d.put(task-0x40, task, fpWrite+ret)
	system(d)
	add("a system call", "handle write entry_SYSCALL_64 - user", d)

	// An interrupt over the idle task, handled on another stack.
	d = at(fpHandle+0x20, irq-0x10, irq)
	d.put(irq, task, fpVector+ret, task-0x100)
	d.put(task, task+0x101, fpException+ret)
	d.putRegs(task+0x100, fpIdle+0x20, 0x10, task+0x200, 0x18, task+0x210)
	d.put(task+0x210, 0, fpStart+ret)
	add("an interrupt on a stack above", "handle - sysvec asm_sysvec - do_idle secondary_startup_64", d)

	d = at(fpHandle+0x20, task-0x50, task-0x40)
	d.put(task-0x40, task+0x61, fpException+ret)
	d.putRegs(task+0x60, fpUser, 0x33, 0x7ffc00001000, 0x2b, 0x1234)
	add("an interrupt of user space", "handle asm_sysvec - user", d)

	d = at(fpHandle+0x20, task-0x50, task-0x40)
	d.put(task-0x40, taskStack+0x1000-168|1, fpFork+ret)
	add("a kernel thread", "handle ret_from_fork_asm", d)

	// A debugger must not take twice as long for each frame.
	const many = 60
	d = at(fpHandle+0x20, task-0x710, task-0x700)
	for i := range uint64(many) {
		d.put(task-0x700+0x18*i, task-0x700+0x18*(i+1), fpWrite+ret)
	}
	d.put(task-0x700+0x18*(many-1), task)
	system(d)
	add("a deep stack", "handle"+strings.Repeat(" write", many)+" entry_SYSCALL_64 - user", d)

	d = at(fpHandle+1, task-0x50, task)
	d.put(task-0x50, task, fpWrite+ret)
	system(d)
	add("the frame pointer is pushed", "handle write entry_SYSCALL_64 - user", d)

	d = at(fpHandle+0x61, task-0x50, task)
	d.put(task-0x50, fpWrite+ret)
	d.code[fpHandle+0x60] = []byte{0x5d, 0xc3}
	system(d)
	add("the frame pointer is popped", "handle write entry_SYSCALL_64 - user", d)

	d = at(fpLeaf+0x20, task-0x50, task)
	d.put(task-0x50, fpWrite+ret)
	rel := int32(fpLeaf - (fpWrite + ret))
	d.code[fpWrite+ret-5] = binary.LittleEndian.AppendUint32([]byte{0xe8}, uint32(rel))
	system(d)
	add("a function without a frame", "leaf write entry_SYSCALL_64 - user", d)
	return stacks
}

// TestDebuggersFollowFramePointers shows debuggers a dead kernel that keeps frame pointers, in a
// core file.
func TestDebuggersFollowFramePointers(t *testing.T) {
	content, _, _ := Build(t.Context(), framedKernel())
	for name, tc := range framedStacks() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			vmlinux, core := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "core")
			if err := os.WriteFile(vmlinux, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if tc.dead.code[fpHandle] == nil {
				tc.dead.code[fpHandle] = make([]byte, 8)
			}
			tc.dead.write(t, core)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, "gdb", "-nx", "-q", "-batch", "-ex", "bt", vmlinux, core).CombinedOutput()
			if err != nil {
				t.Fatalf("gdb: %v\n%s", err, out)
			}
			if got := framesOfGDB(string(out)); got != tc.want {
				t.Errorf("gdb: %s, want %s\n%s", got, tc.want, out)
			}
			// lldb's embedded Python may be missing, which it complains of, and of core files it
			// asks no addresses.
			out, err = exec.CommandContext(ctx, "lldb-14", "-b", "-x", "-o", "target create -c "+core+" "+vmlinux,
				"-o", "target modules load --file vmlinux --slide 0", "-o", "bt").CombinedOutput()
			if err != nil {
				t.Fatalf("lldb: %v\n%s", err, out)
			}
			if got := framesOfLLDB(string(out)); got != tc.want {
				t.Errorf("lldb: %s, want %s\n%s", got, tc.want, out)
			}
		})
	}
}

// framesOfLLDB returns what framesOfGDB does. lldb has borders for functions.
func framesOfLLDB(out string) string {
	var got []string
	for _, fields := range regexp.MustCompile(`(?m)frame #\d+: 0x([0-9a-f]+)(?: vmlinux.([^ ]+))?`).FindAllStringSubmatch(out, -1) {
		switch {
		case fields[1] == fmt.Sprintf("%016x", fpUser):
			got = append(got, "user")
		case strings.HasPrefix(fields[2], "["):
			got = append(got, "-")
		default:
			got = append(got, fields[2])
		}
	}
	return strings.Join(got, " ")
}

// framesOfGDB returns the functions of a backtrace, with - for a border and user for user space.
func framesOfGDB(out string) string {
	var got []string
	for _, line := range regexp.MustCompile(`(?m)^#\d+ .*$`).FindAllString(out, -1) {
		fields := regexp.MustCompile(`^#\d+ +(?:0x([0-9a-f]+) in )?(\S+)`).FindStringSubmatch(line)
		switch {
		case strings.Contains(line, "<signal handler called>"):
			got = append(got, "-")
		case fields[1] == fmt.Sprintf("%016x", fpUser):
			got = append(got, "user")
		default:
			got = append(got, fields[2])
		}
	}
	return strings.Join(got[min(1, len(got)):], " ")
}
