package linux

import (
	"bytes"
	"context"
	"fmt"
)

// framed are functions that have a frame in each kernel with frame pointers, because they call
// others.
var framed = []string{
	"schedule", "vfs_read", "vfs_write", "ksys_read", "ksys_write", "do_sys_openat2", "filp_close", "kthread", "worker_thread",
	"do_exit", "wake_up_process", "kmem_cache_free", "mutex_lock", "generic_file_read_iter", "dput", "path_openat",
}

// FramePointers reports whether the kernel has frame pointers: there are no unwind tables in
// memory, and most of the functions in framed set up a frame.
func (k *Kernel) FramePointers(ctx context.Context) (bool, error) {
	return k.framePointers.Get(ctx, func(ctx context.Context) (bool, error) {
		if _, hasORC := k.Addr("__start_orc_unwind"); hasORC || k.Symbols == nil {
			return false, nil
		}
		var found, keep int
		for _, name := range framed {
			addr, ok := k.Addr(name)
			if !ok {
				continue
			}
			var code [MaxPrologue]byte
			if _, err := k.Space.ReadMemory(ctx, addr, code[:]); err != nil {
				return false, fmt.Errorf("the code of %s: %w", name, err)
			}
			found++
			if _, _, ok := Framing(code[:]); ok {
				keep++
			}
		}
		return found > 0 && 2*keep > found, nil
	})
}

// MaxPrologue bounds the size of the code at the start of a function that sets up its frame, in
// bytes: endbr64, a call or no-op of 5 bytes for ftrace, push %rbp, one or two instructions that
// the compiler scheduled here, mov %rsp,%rbp.
const MaxPrologue = 4 + 5 + 1 + 16 + 3

// Framing returns the offsets of push %rbp and mov %rsp,%rbp in the code at the start of a
// function. The former is at the start, or after the instructions of -fcf-protection=branch and
// -mfentry.
func Framing(code []byte) (push, move int, ok bool) {
	if bytes.HasPrefix(code, []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
		push += 4
	}
	rest := code[push:]
	if bytes.HasPrefix(rest, []byte{0xe8}) || bytes.HasPrefix(rest, []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}) {
		push += 5
	}
	if push >= len(code) || code[push] != 0x55 {
		return 0, 0, false
	}
	between := bytes.Index(code[push+1:], []byte{0x48, 0x89, 0xe5})
	return push, push + 1 + between, between >= 0
}
