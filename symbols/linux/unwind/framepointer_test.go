package unwind

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/test/linuxtest"
)

// The functions of a kernel that keeps frame pointers. Each is called at its beginning by the one
// before, and callOf returns the return address.
const (
	fpInner, fpMiddle, fpOuter, fpLeaf = textPage + 0x100, textPage + 0x200, textPage + 0x300, textPage + 0x400
	fpEntry                            = textPage + 0x500 // entry code, without a frame
)

// callOf is where the only call in a function returns to.
func callOf(function uint64) uint64 { return function + 0x40 }

// newFramed makes a kernel that keeps frame pointers, and a stack of one page.
func newFramed(t testing.TB) (w *world, stack uint64) {
	w = newWorld(t, nil, map[string]uint64{
		"schedule": fpInner, "vfs_write": fpMiddle, "ksys_write": fpOuter, "leaf": fpLeaf, "entry": fpEntry,
	})
	w.Kernel.Text = textPage
	linuxtest.DefineRegisters(w.Structs)
	w.PutCode(fpInner, 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48, 0x89, 0xe5)
	w.PutCode(fpMiddle, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48, 0x89, 0xd0, 0x48, 0x89, 0xe5)
	w.PutCode(fpOuter, 0x55, 0x48, 0x89, 0xe5)
	w.PutCode(fpInner+0x60, 0x5d, 0xc3) // pop %rbp; ret
	w.call(fpLeaf, callOf(fpInner))
	w.call(fpInner, callOf(fpMiddle))
	w.call(fpMiddle, callOf(fpOuter))
	w.call(fpOuter, callOf(fpEntry))
	return w, w.Alloc("", 0x1000)
}

// putRegs writes a struct pt_regs.
func (w *world) putRegs(at, rip, cs, rsp, ss, rbp uint64) {
	w.Put(at, 0, 0, 0, 0, rbp)
	w.Put(at+15*8, ^uint64(0), rip, cs, 0x246, rsp, ss)
}

func TestUnwindByFramePointer(t *testing.T) {
	const user, kernel = 0x401000, fpOuter + 0x20
	for _, tc := range []struct {
		name   string
		pc     uint64
		called bool // pc is a return address
		sp, bp uint64
		stack  func(w *world, s uint64)
		want   []uint64
		user   bool
		err    string
	}{
		{
			name: "a system call", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x30,
			stack: func(w *world, s uint64) {
				w.Put(s+0x30, s+0x60, callOf(fpMiddle))
				w.Put(s+0x60, s+0x90, callOf(fpOuter))
				w.Put(s+0x90, 0, callOf(fpEntry))
				w.putRegs(s+0xa0, user, 0x33, 0x7ffc00001000, 0x2b, 0x1234)
			},
			want: []uint64{callOf(fpInner), callOf(fpMiddle), callOf(fpOuter), callOf(fpEntry)}, user: true,
		}, {
			name: "an interrupt of a kernel thread, on another stack", pc: callOf(fpInner), called: true, sp: 0x820, bp: 0x830,
			stack: func(w *world, s uint64) {
				w.Put(s+0x830, s+0x60, callOf(fpMiddle)) // on the stack for interrupts
				w.Put(s+0x60, s+0x101, callOf(fpEntry))
				w.putRegs(s+0x100, kernel, 0x10, s+0x200, 0x18, s+0x210)
				w.Put(s+0x210, s+0x1000-168|1, callOf(fpEntry))
			},
			want: []uint64{callOf(fpInner), callOf(fpMiddle), callOf(fpEntry), kernel, callOf(fpEntry)},
		}, {
			name: "an interrupt of user space", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x30,
			stack: func(w *world, s uint64) {
				w.Put(s+0x30, s+0x61, callOf(fpEntry))
				w.putRegs(s+0x60, user, 0x33, 0x7ffc00001000, 0x2b, 0x1234)
			},
			want: []uint64{callOf(fpInner), callOf(fpEntry)}, user: true,
		}, {
			name: "the first function of a CPU", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x30,
			stack: func(w *world, s uint64) { w.Put(s+0x30, 0, callOf(fpEntry)) },
			want:  []uint64{callOf(fpInner), callOf(fpEntry)},
		}, {
			name: "before the frame pointer is pushed", pc: fpInner + 9, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x20, callOf(fpMiddle)); w.Put(s+0x60, 0, callOf(fpOuter)) },
			want:  []uint64{fpInner + 9, callOf(fpMiddle), callOf(fpOuter)},
		}, {
			name: "before the frame pointer is set", pc: fpInner + 10, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x28, callOf(fpMiddle)); w.Put(s+0x60, 0, callOf(fpOuter)) },
			want:  []uint64{fpInner + 10, callOf(fpMiddle), callOf(fpOuter)},
		}, {
			name: "before the frame pointer is set, after another instruction", pc: fpMiddle + 9, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x28, callOf(fpOuter)); w.Put(s+0x60, 0, callOf(fpEntry)) },
			want:  []uint64{fpMiddle + 9, callOf(fpOuter), callOf(fpEntry)},
		}, {
			name: "at the return", pc: fpInner + 0x61, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x20, callOf(fpMiddle)); w.Put(s+0x60, 0, callOf(fpOuter)) },
			want:  []uint64{fpInner + 0x61, callOf(fpMiddle), callOf(fpOuter)},
		}, {
			name: "in a function without a frame", pc: fpLeaf + 0x22, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x20, callOf(fpInner)); w.Put(s+0x60, 0, callOf(fpMiddle)) },
			want:  []uint64{fpLeaf + 0x22, callOf(fpInner), callOf(fpMiddle)},
		}, {
			name: "in the midst of a function", pc: fpInner + 0x20, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x60, 0, callOf(fpMiddle)) },
			want:  []uint64{fpInner + 0x20, callOf(fpMiddle)},
		}, {
			name: "a call of data", pc: base + 0x1000, sp: 0x20, bp: 0x60,
			stack: func(w *world, s uint64) { w.Put(s+0x20, callOf(fpInner)); w.Put(s+0x60, 0, callOf(fpMiddle)) },
			want:  []uint64{base + 0x1000, callOf(fpInner), callOf(fpMiddle)},
		}, {
			name: "a frame pointer that leads to itself", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x30,
			stack: func(w *world, s uint64) { w.Put(s+0x30, s+0x30, callOf(fpMiddle)) },
			want:  []uint64{callOf(fpInner), callOf(fpMiddle)}, err: "circle",
		}, {
			name: "registers that lead to themselves", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x31,
			stack: func(w *world, s uint64) { w.putRegs(s+0x30, kernel, 0x10, s+0x10, 0x18, s+0x31) },
			want:  []uint64{callOf(fpInner), kernel}, err: "circle",
		}, {
			name: "no registers", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x31,
			stack: func(w *world, s uint64) {}, want: []uint64{callOf(fpInner)}, err: "there are no registers",
		}, {
			name: "an invalid frame pointer", pc: callOf(fpInner), called: true, sp: 0x20, bp: 1 << 32,
			stack: func(w *world, s uint64) {}, want: []uint64{callOf(fpInner)}, err: "not present",
		}, {
			name: "a word that was not called from", pc: callOf(fpInner), called: true, sp: 0x20, bp: 0x30,
			stack: func(w *world, s uint64) { w.Put(s+0x30, s+0x60, fpMiddle+0x80) },
			want:  []uint64{callOf(fpInner)}, err: "there is no frame",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, stack := newFramed(t)
			tc.stack(w, stack)
			regs := &Registers{Exact: !tc.called}
			regs.set(symbols.RIP, tc.pc)
			regs.set(symbols.RSP, stack+tc.sp)
			regs.set(symbols.RBP, stack+tc.bp)
			b, err := w.Unwind(ctx, regs)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, f := range b.Frames {
				got = append(got, f.PC)
				if f.Guessed {
					t.Errorf("the frame at %#x is marked as a guess", f.PC)
				}
			}
			if fmt.Sprintf("%#x", got) != fmt.Sprintf("%#x", tc.want) {
				t.Errorf("functions %#x, want %#x", got, tc.want)
			}
			if (b.User != nil) != tc.user || tc.user && b.User.PC() != user {
				t.Errorf("user space: %+v", b.User)
			}
			if tc.err == "" && b.Err != nil || tc.err != "" && (b.Err == nil || !strings.Contains(b.Err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", b.Err, tc.err)
			}
		})
	}
}

// TestRestingFindsFramePointer has a CPU rest in a function that another called by a register:
// only the words on the stack show its frame pointer.
func TestRestingFindsFramePointer(t *testing.T) {
	w, stack := newFramed(t)
	w.PutCode(callOf(fpMiddle)-callSize, 0, 0, 0, 0xff, 0xd0) // call *%rax
	w.Put(stack+0x20, callOf(fpInner), 7, stack+0x60, callOf(fpMiddle))
	w.Put(stack+0x60, 0, callOf(fpEntry))
	regs := &Registers{}
	regs.set(symbols.RIP, callOf(fpInner))
	regs.set(symbols.RSP, stack+0x28)
	fn := symbols.Symbol{Name: "schedule", Addr: fpInner, Size: 0x100}
	if err := w.findFramePointer(ctx, regs, fn, []uint64{7, stack + 0x60, callOf(fpMiddle)}); err != nil {
		t.Fatal(err)
	}
	if bp, _ := regs.Get(symbols.RBP); bp != stack+0x30 {
		t.Errorf("RBP %#x, want %#x", bp, stack+0x30)
	}
}

// FuzzUnwindByFramePointer unwinds stacks of any content. It comes to an end, and with no more
// frames than there may be.
func FuzzUnwindByFramePointer(f *testing.F) {
	w, stack := newFramed(f)
	// Words below 0x100 are addresses in the stack, so that random content leads somewhere.
	f.Add([]byte{0x20, 0x01, 0x30, 0x02}, uint16(0x10), true)
	f.Add([]byte{0x11, 0x01, 0x11, 0x02, 0x11, 0x03}, uint16(0x11), false)
	f.Fuzz(func(t *testing.T, words []byte, bp uint16, exact bool) {
		const most = 0x1000 / 8
		clear(w.RAM[stack-base:][:0x1000])
		returns := []uint64{callOf(fpInner), callOf(fpMiddle), callOf(fpOuter), callOf(fpEntry), fpLeaf + 0x22, base, 0x10, 0x33, 0}
		for i := 0; i < len(words) && i < most; i++ {
			v := stack + 8*uint64(words[i]>>1) + uint64(words[i]&1)
			if n := int(words[i]); n < len(returns) {
				v = returns[n]
			}
			if words[i] == 0xff && i+8 < len(words) {
				v = binary.LittleEndian.Uint64(words[i+1:])
			}
			w.Put(stack+8*uint64(i), v)
		}
		regs := &Registers{Exact: exact}
		regs.set(symbols.RIP, callOf(fpInner))
		regs.set(symbols.RSP, stack)
		regs.set(symbols.RBP, stack+uint64(bp%0x1000))
		b, err := w.Unwind(ctx, regs)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Frames) > maxFrames {
			t.Errorf("%d frames", len(b.Frames))
		}
		seen := map[[2]uint64]bool{}
		for _, f := range b.Frames {
			if at := [2]uint64{f.PC, f.SP}; seen[at] {
				t.Fatalf("the function at %#x with RSP %#x is there twice", f.PC, f.SP)
			} else {
				seen[at] = true
			}
		}
	})
}
