/* A relocatable object that looks enough like a kernel module for gdb to place: a section for each kind of thing. */
volatile long mod_counter = 7;
volatile long mod_bss;
const char mod_banner[] = "synthetic module\n";

__attribute__((section(".init.text"))) long mod_init(void)
{
	return mod_counter;
}

long mod_fn(long n)
{
	mod_bss += n;
	return mod_counter;
}

__attribute__((section(".text.unlikely"))) long mod_cold(long n)
{
	return mod_banner[n];
}
