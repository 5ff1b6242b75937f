// SPDX-License-Identifier: GPL-2.0
/*
 * dummy_000 - one of many modules that a test guest loads
 *
 * This file is built once. The guest loads it many times, each time with another number: it
 * replaces dummy_000 everywhere in the file. Each module calls the one before it, and the first one
 * panics.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/module.h>

static unsigned long next;
module_param(next, ulong, 0);
MODULE_PARM_DESC(next, "address of the function to call, or 0 to panic");

/* The result of the call is used, so that it is not a jump and has a frame on the stack. */
static __attribute__((__noipa__)) int dummy_000_call(void)
{
	int (*call)(void) = (int (*)(void))READ_ONCE(next);

	if (!call)
		panic("the chain of modules ends");
	return call() + 1;
}

static unsigned long entry = (unsigned long)dummy_000_call;
module_param(entry, ulong, 0444);
MODULE_PARM_DESC(entry, "address of the function that another module can call");

static int dummy_000_go(const char *value, const struct kernel_param *parameter)
{
	return dummy_000_call();
}

static const struct kernel_param_ops go = { .set = dummy_000_go };
module_param_cb(go, &go, NULL, 0200);
MODULE_PARM_DESC(go, "write to it to start the chain of calls");

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("one of many modules, for tests");
