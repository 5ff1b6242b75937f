// SPDX-License-Identifier: GPL-2.0
/*
 * instrumented - functions that are probed and patched, and then panic
 *
 * A write to /proc/instrumented calls probed(), whose kprobe's handler panics.
 * Reading /proc/version calls the live patch of version_proc_show(), which
 * panics. The module cannot be unloaded.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

/* The functions add to the result, so that their calls are not jumps. */
#define FRAME static __attribute__((__noipa__))

/*
 * A condition that the compiler cannot predict: code after a call that does not return has no ORC.
 */
static const bool yes = true;
#define THE_END READ_ONCE(yes)

/* --- a kprobe at the entry of a function, by way of ftrace where there is one --- */

FRAME int probed(size_t n)
{
	return READ_ONCE(yes) + n;
}

FRAME int calls_probed(size_t n)
{
	return probed(n) + 1;
}

static int on_probe(struct kprobe *p, struct pt_regs *regs)
{
	if (THE_END)
		panic("handler of a kprobe");
	return 0;
}

static struct kprobe probe = {
	.addr = (kprobe_opcode_t *)probed,
	.pre_handler = on_probe,
};

static ssize_t instrumented_write(struct file *file, const char __user *buffer, size_t size, loff_t *position)
{
	return calls_probed(size) ? size : -EIO;
}

static const struct proc_ops operations = {
	.proc_write = instrumented_write,
};

/* --- a live patch ----------------------------------------------------------- */

#ifdef CONFIG_LIVEPATCH
FRAME int patched_inner(void)
{
	if (THE_END)
		panic("live patch");
	return 0;
}

static int patched_version_proc_show(struct seq_file *m, void *v)
{
	return patched_inner() + 1;
}

static struct klp_func functions[] = {
	{ .old_name = "version_proc_show", .new_func = patched_version_proc_show, },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions, },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int apply_patch(void)
{
	return klp_enable_patch(&patch);
}

MODULE_INFO(livepatch, "Y");
#else
static int apply_patch(void)
{
	return 0;
}
#endif

static int __init instrumented_init(void)
{
	int err = register_kprobe(&probe);

	if (err)
		return err;
	err = apply_patch();
	if (err) {
		unregister_kprobe(&probe);
		return err;
	}
	if (!proc_create("instrumented", 0200, NULL, &operations))
		pr_err("no /proc/instrumented\n");
	return 0;
}
module_init(instrumented_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Functions that are probed and patched");
