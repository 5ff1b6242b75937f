// SPDX-License-Identifier: GPL-2.0
/*
 * compat - a 32-bit program that sleeps in a system call, with known values in its registers and in
 * its memory
 *
 * It needs no C library, so that the compiler for x86-64 alone can build it.
 */
struct known {
	int number;
	long wide;
};

struct known known;

/* __NR_pause of arch/x86/entry/syscalls/syscall_32.tbl. Each byte of a register is 0x20 + gdb's
 * number of it. */
static __attribute__((noinline)) int inner(int depth)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(29), "b"(0x23232323), "c"(0x21212121), "d"(0x22222222), "S"(0x26262626), "D"(0x27272727)
			 : "memory");
	return result + depth;
}

static __attribute__((noinline)) int middle(int depth)
{
	return inner(depth + 1) + known.number;
}

static __attribute__((noinline)) int outer(int depth)
{
	return middle(depth + 1) + known.number;
}

void _start(void)
{
	known.number = 0x3200c0de; /* now, so that the page is in memory */
	known.wide = 0x32;
	for (;;)
		outer(1);
}
