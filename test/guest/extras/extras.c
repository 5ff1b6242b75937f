// SPDX-License-Identifier: GPL-2.0
/*
 * extras - processes of a test guest. The name of the program selects its work:
 *
 *	spinner		computes for ever in user mode, with known values in its registers
 *	stuck		sleeps in trouble.ko, where no signal reaches it
 *	crowd N		N threads, each asleep in a system call, under a name of its own
 *
 *	faulter		opens a file when it reads a line from stdin; its page
 *			faults at FAULT_ADDRESS never end
 *
 * A crowd prints a line on stdout when all threads run.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Each byte of a register is 0x10 + gdb's number of it; rsp and rip are not set. */
__attribute__((noreturn)) static void spin(void)
{
	__asm__ volatile("movabs $0x1010101010101010, %rax\n\t"
			 "movabs $0x1111111111111111, %rbx\n\t"
			 "movabs $0x1212121212121212, %rcx\n\t"
			 "movabs $0x1313131313131313, %rdx\n\t"
			 "movabs $0x1414141414141414, %rsi\n\t"
			 "movabs $0x1515151515151515, %rdi\n\t"
			 "movabs $0x1616161616161616, %rbp\n\t"
			 "movabs $0x1818181818181818, %r8\n\t"
			 "movabs $0x1919191919191919, %r9\n\t"
			 "movabs $0x1a1a1a1a1a1a1a1a, %r10\n\t"
			 "movabs $0x1b1b1b1b1b1b1b1b, %r11\n\t"
			 "movabs $0x1c1c1c1c1c1c1c1c, %r12\n\t"
			 "movabs $0x1d1d1d1d1d1d1d1d, %r13\n\t"
			 "movabs $0x1e1e1e1e1e1e1e1e, %r14\n\t"
			 "movabs $0x1f1f1f1f1f1f1f1f, %r15\n"
			 "spinning:\n\t"
			 "jmp spinning");
	__builtin_unreachable();
}

static void hang(void)
{
	int fd = open("/proc/trouble", O_WRONLY);

	if (fd < 0)
		err(1, "open /proc/trouble");
	if (write(fd, "hang", 4) < 0)
		err(1, "write /proc/trouble");
}

static pthread_barrier_t all_there;

__attribute__((noreturn)) static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void *stand_around(void *number)
{
	char name[16];

	snprintf(name, sizeof(name), "crowd-%d", (int)(long)number);
	prctl(PR_SET_NAME, name);
	pthread_barrier_wait(&all_there);
	wait_for_ever();
}

static void gather(int threads)
{
	pthread_attr_t attributes;
	int error;

	if (threads < 1)
		errx(1, "a crowd of %d threads", threads);
	pthread_barrier_init(&all_there, NULL, threads);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, sysconf(_SC_THREAD_STACK_MIN));
	for (long i = 1; i < threads; i++) {
		pthread_t thread;

		error = pthread_create(&thread, &attributes, stand_around, (void *)i);
		if (error)
			errx(1, "thread %ld of %d: %s", i, threads, strerror(error));
	}
	pthread_barrier_wait(&all_there);
	puts("all there");
	fflush(stdout);
	wait_for_ever();
}

#define FAULT_ADDRESS 0x100000000UL

/* A task that touches the page sleeps until the page is filled, which never happens. */
static void hold_back(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = FAULT_ADDRESS, .len = size }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0)
		err(1, "userfaultfd");
	if (mmap((void *)FAULT_ADDRESS, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		err(1, "mmap");
	if (ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &range))
		err(1, "register memory with userfaultfd");
}

static void fault(void)
{
	char order;

	hold_back();
	puts("ready");
	fflush(stdout);
	if (read(0, &order, 1) == 1 && open("/", O_RDONLY) < 0)
		err(1, "open /");
	wait_for_ever();
}

int main(int argc, char **argv)
{
	const char *role = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

	if (!strcmp(role, "spinner"))
		spin();
	if (!strcmp(role, "stuck"))
		hang();
	if (!strcmp(role, "faulter"))
		fault();
	if (!strcmp(role, "crowd") && argc == 2)
		gather(atoi(argv[1]));
	errx(1, "no such role");
}
