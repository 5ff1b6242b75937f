// SPDX-License-Identifier: GPL-2.0
/*
 * trouble - ways to panic a test kernel
 *
 * Write the name of one to /proc/trouble. The CPU, the task and the functions are the same every
 * time. The module cannot be unloaded.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include <asm/irq_regs.h>

/*
 * Every way calls an outer, a middle and an inner function, which the compiler must not merge. They
 * add to the result, so that their calls are not jumps and each has a frame on the stack.
 */
#define FRAME static __attribute__((__noipa__))

/*
 * A condition that the compiler cannot predict: code after a call that does not return has no ORC.
 */
static const bool yes = true;
#define THE_END READ_ONCE(yes)

/* --- bug ------------------------------------------------------------------ */

FRAME int bug_inner(void)
{
	BUG_ON(THE_END);
	return 0;
}

FRAME int bug_middle(void)
{
	return bug_inner() + 1;
}

FRAME int bug_outer(void)
{
	return bug_middle() + 1;
}

/* --- hang: a sleep without end, for khungtaskd ---------------------------- */

FRAME int hang_inner(void)
{
	while (THE_END) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
	return 0;
}

FRAME int hang_middle(void)
{
	return hang_inner() + 1;
}

FRAME int hang_outer(void)
{
	return hang_middle() + 1;
}

/* --- irq: a timer that fires on this CPU over the selected task ------------ */

static struct hrtimer timer;
static bool over_user;

FRAME int irq_inner(void)
{
	if (THE_END)
		panic("trouble in an interrupt");
	return 0;
}

FRAME int irq_middle(void)
{
	return irq_inner() + 1;
}

static enum hrtimer_restart irq_outer(struct hrtimer *t)
{
	bool there = over_user ? user_mode(get_irq_regs()) : is_idle_task(current);

	if (there && irq_middle())
		return HRTIMER_NORESTART;
	hrtimer_forward_now(t, ms_to_ktime(3));
	return HRTIMER_RESTART;
}

/*
 * hrtimer_setup() came in 6.13 and hrtimer_init() went in 6.15. Both are functions
 * of the same header, which the preprocessor cannot see: the version decides.
 */
static void setup_timer(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&timer, irq_outer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
#else
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	timer.function = irq_outer;
#endif
}

/* The caller sleeps meanwhile. */
static int arm(bool user)
{
	over_user = user;
	setup_timer();
	hrtimer_start(&timer, ms_to_ktime(50), HRTIMER_MODE_REL_PINNED);
	return 0;
}

static int irq_over_idle(void)
{
	return arm(false);
}

static int irq_over_user(void)
{
	return arm(true);
}

/* --- nmi: a panic while another CPU takes no interrupts -------------------- */

static bool deaf;

FRAME int spin_inner(void)
{
	local_irq_disable();
	WRITE_ONCE(deaf, true);
	while (THE_END)
		cpu_relax();
	return 0;
}

static int spin_outer(void *unused)
{
	return spin_inner() + 1;
}

FRAME int nmi_inner(void)
{
	while (!READ_ONCE(deaf))
		cpu_relax();
	if (THE_END)
		panic("trouble with a deaf CPU");
	return 0;
}

FRAME int nmi_middle(void)
{
	return nmi_inner() + 1;
}

static int nmi_outer(void)
{
	unsigned int other = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	struct task_struct *task;

	if (other >= nr_cpu_ids)
		return -ENODEV;
	task = kthread_create(spin_outer, NULL, "trouble/deaf");
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, other);
	wake_up_process(task);
	return nmi_middle() + 1;
}

/* --- oops: a member of a structure at address 0 --------------------------- */
/* Not the first in the file: the log shows code from before the instruction. */

struct absent {
	char before[0x18];
	int number;
};

FRAME int oops_inner(const struct absent *absent)
{
	return READ_ONCE(absent->number);
}

FRAME int oops_middle(const struct absent *absent)
{
	return oops_inner(absent) + 1;
}

FRAME int oops_outer(void)
{
	return oops_middle(NULL) + 1;
}

/* --- wild: calls through a pointer to no code ------------------- */

FRAME int wild_inner(unsigned long address)
{
	int (*function)(void) = (void *)address;

	return function() + 1;
}

FRAME int wild_middle(unsigned long address)
{
	return wild_inner(address) + 1;
}

static int wild_small(void)
{
	return wild_middle(0x1234) + 1;
}

/* Not canonical with either paging mode. */
static int wild_far(void)
{
	return wild_middle(0xdead000000001234) + 1;
}

static int wild_data(void)
{
	return wild_middle((unsigned long)&over_user) + 1;
}

/* --- /proc/trouble --------------------------------------------------------- */

static const struct {
	const char *name;
	int (*go)(void);
} ways[] = {
	{ "oops", oops_outer },
	{ "bug", bug_outer },
	{ "hang", hang_outer },
	{ "irq", irq_over_idle },
	{ "irq-user", irq_over_user },
	{ "nmi", nmi_outer },
	{ "wild", wild_small },
	{ "wild-far", wild_far },
	{ "wild-data", wild_data },
};

static ssize_t trouble_write(struct file *file, const char __user *buffer, size_t size, loff_t *position)
{
	char name[16] = "";
	int i;

	if (size >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buffer, size))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!strcmp(name, ways[i].name)) {
			int err = ways[i].go();

			return err < 0 ? err : size;
		}
	}
	return -EINVAL;
}

static const struct proc_ops operations = {
	.proc_write = trouble_write,
};

static int __init trouble_init(void)
{
	return proc_create("trouble", 0200, NULL, &operations) ? 0 : -ENOMEM;
}
module_init(trouble_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Ways for a test kernel to die");
