/* A program that looks enough like a vmlinux for gdb to work on: linked high, with a banner and two frames. */
const char linux_banner[] = "Linux version 0.0-synthetic\n";
volatile long counter = 42;
volatile long bss_var;

__attribute__((noinline)) long inner(long n)
{
	long doubled = n * 2;
	asm volatile(".globl inside\ninside: nop");
	counter += doubled;
	return doubled + 1;
}

__attribute__((noinline)) long outer(long n)
{
	long result = inner(n + 1);
	asm volatile(".globl in_outer\nin_outer: nop");
	return result * 3;
}

void _start(void)
{
	outer(20);
	asm volatile(".globl in_start\nin_start: nop");
	for (;;)
		;
}
