// SPDX-License-Identifier: GPL-2.0
/*
 * physgdb - say where a dying kernel keeps its page tables
 *
 * When the kernel panics, one UDP datagram names CR3 and the registers of
 * panic(), so that a debugger that can still read this machine's memory knows
 * where to begin. /proc/physgdb tells the same of the process that reads it.
 *
 * See README.md beside this file.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netpoll.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/utsname.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <linux/vmcore_info.h>
#else
#include <linux/crash_core.h>
#endif

#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/special_insns.h>
#include <asm/unwind.h>

#include "json.h"
#include "target.h"

#define PROC_NAME	"physgdb"
#define COPIES		3	/* nobody acknowledges a datagram */
#define PAUSE_MS	20	/* between copies: outlast a short burst of loss */
#define NOTICE_SIZE	1400	/* of netpoll's 1460: tunnels take their share */
#define EVENT_MAX	16
#define CALL_SIZE	5	/* bytes of a direct call instruction */

static char *notify;
module_param(notify, charp, 0400);
MODULE_PARM_DESC(notify,
	"where notices go: [src-port]@[src-ip]/[dev],[tgt-port]@<tgt-ip>/[tgt-mac]");

static struct netpoll netpoll = { .name = KBUILD_MODNAME };
static bool netpoll_up;

/* Static, because a dying kernel has neither memory nor stack to spare. */
static char notice[NOTICE_SIZE];

/* --- what every line says ------------------------------------------------ */

static void put_head(struct json *j, const char *event)
{
	json_dec(j, "physgdb", 1);
	json_str(j, "event", event, EVENT_MAX);
	json_str(j, "host", init_uts_ns.name.nodename, __NEW_UTS_LEN);
}

static void put_paging(struct json *j)
{
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	json_hex(j, "cr3", read_cr3_pa());	/* without the PCID */
	json_hex(j, "cr4", __read_cr4());
	json_hex(j, "efer", efer);
}

static void put_vmcoreinfo(struct json *j)
{
	json_hex(j, "vmcoreinfo", paddr_vmcoreinfo_note());
}

/* --- /proc/physgdb ------------------------------------------------------- */

static int hello_show(struct seq_file *m, void *unused)
{
	struct json j;
	char line[NOTICE_SIZE / 2];
	char comm[TASK_COMM_LEN];

	get_task_comm(comm, current->group_leader);
	json_begin(&j, line, sizeof(line));
	put_head(&j, "hello");
	json_dec(&j, "pid", task_tgid_nr(current));
	json_str(&j, "comm", comm, sizeof(comm));
	put_paging(&j);
	put_vmcoreinfo(&j);
	json_end(&j);
	seq_puts(m, line);
	return 0;
}

/* --- the panic notice ---------------------------------------------------- */

#ifdef CONFIG_UNWINDER_ORC
static unsigned long panic_size;

/* The kernel tells the size of a function to modules only in a printed form. */
static void __init panic_measure(void)
{
	char text[KSYM_SYMBOL_LEN];
	const char *slash;

	sprint_symbol(text, (unsigned long)panic);
	slash = strrchr(text, '/');
	if (!slash || sscanf(slash, "/0x%lx", &panic_size) != 1)
		pr_warn("cannot tell where panic() ends from \"%s\": notices will lack registers\n",
			text);
}

/*
 * Adds the registers of panic() itself, which go on to be true after the
 * notifiers are done: any frame below it is soon written over.
 */
static void put_registers(struct json *j)
{
	struct unwind_state frame;
	unsigned long ip;

	for (unwind_start(&frame, current, NULL, NULL); !unwind_done(&frame);
	     unwind_next_frame(&frame)) {
		ip = unwind_get_return_address(&frame);
		if (ip - (unsigned long)panic >= panic_size)
			continue;
		/* The call, not the statement after it. */
		json_hex(j, "rip", ip - CALL_SIZE);
		json_hex(j, "rsp", frame.sp);
		json_hex(j, "rbp", frame.bp);
		return;
	}
}
#else
static void __init panic_measure(void)
{
	pr_warn("this kernel has no ORC unwinder: notices will lack registers\n");
}

static void put_registers(struct json *j)
{
}
#endif

static unsigned int notice_write(const char *message)
{
	struct json j;
	u64 gs_base;

	rdmsrl(MSR_GS_BASE, gs_base);
	json_begin(&j, notice, sizeof(notice));
	put_head(&j, "panic");
	json_dec(&j, "cpu", raw_smp_processor_id());
	json_dec(&j, "pid", task_pid_nr(current));
	json_str(&j, "comm", current->comm, sizeof(current->comm));
	put_paging(&j);
	json_hex(&j, "gs_base", gs_base);
	put_registers(&j);
	put_vmcoreinfo(&j);
	/* Last, because it alone may be of any length and is cut. */
	json_str(&j, "message", message, NOTICE_SIZE);
	return json_end(&j);
}

/* Runs once, with interrupts off and the other CPUs stopped. */
static int panic_notify(struct notifier_block *nb, unsigned long event,
			void *message)
{
	unsigned int len, i;

	if (!READ_ONCE(netpoll_up))
		return NOTIFY_DONE;
	len = notice_write(message);
	for (i = 0; i < COPIES; i++) {
		netpoll_send_udp(&netpoll, notice, len);
		mdelay(PAUSE_MS);
	}
	return NOTIFY_DONE;
}

/* First of all, because a later notifier may hang. */
static struct notifier_block panic_block = {
	.notifier_call = panic_notify,
	.priority = INT_MAX,
};

/* --- the network device -------------------------------------------------- */

/* A work, because netpoll_cleanup() takes the lock that notifiers run under. */
static void device_release(struct work_struct *work)
{
	netpoll_cleanup(&netpoll);
}

static DECLARE_WORK(device_release_work, device_release);

/* Lets go of a device that is being removed, which would wait for us for ever. */
static int device_notify(struct notifier_block *nb, unsigned long event,
			 void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);

	if (event != NETDEV_UNREGISTER || !netpoll_up || dev != netpoll.dev)
		return NOTIFY_DONE;
	WRITE_ONCE(netpoll_up, false);
	pr_warn("%s is going away: no more notices until physgdb is loaded again\n",
		dev->name);
	schedule_work(&device_release_work);
	return NOTIFY_DONE;
}

static struct notifier_block device_block = { .notifier_call = device_notify };

/* --- load and unload ----------------------------------------------------- */

static int __init notices_start(void)
{
	char *text = kstrdup(notify, GFP_KERNEL);
	int err;

	if (!text)
		return -ENOMEM;
	err = target_parse(&netpoll, text);
	kfree(text);
	if (err)
		return err;
	err = netpoll_setup(&netpoll);
	if (err) {
		pr_err("cannot send notices over %s (%d): is it there, and has it an address?\n",
		       netpoll.dev_name, err);
		return err;
	}
	err = register_netdevice_notifier(&device_block);
	if (err) {
		netpoll_cleanup(&netpoll);
		return err;
	}
	panic_measure();
	WRITE_ONCE(netpoll_up, true);
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
	pr_info("panic notices go from %pI4:%u over %s to %pI4:%u (%pM)\n",
		&netpoll.local_ip.ip, netpoll.local_port, netpoll.dev_name,
		&netpoll.remote_ip.ip, netpoll.remote_port, netpoll.remote_mac);
	return 0;
}

static void notices_stop(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_block);
	/* Unregistering tells device_notify() that every device goes away. */
	WRITE_ONCE(netpoll_up, false);
	unregister_netdevice_notifier(&device_block);
	flush_work(&device_release_work);
	netpoll_cleanup(&netpoll);
}

static int __init physgdb_init(void)
{
	int err;

	if (!proc_create_single(PROC_NAME, 0400, NULL, hello_show)) {
		pr_err("cannot make /proc/" PROC_NAME "\n");
		return -ENOMEM;
	}
	if (!notify) {
		pr_info("no notify= given: /proc/" PROC_NAME " only, no panic notices\n");
		return 0;
	}
	err = notices_start();
	if (err)
		remove_proc_entry(PROC_NAME, NULL);
	return err;
}

static void __exit physgdb_exit(void)
{
	if (notify)
		notices_stop();
	remove_proc_entry(PROC_NAME, NULL);
}

module_init(physgdb_init);
module_exit(physgdb_exit);

MODULE_DESCRIPTION("Say where a dying kernel keeps its page tables");
MODULE_LICENSE("GPL");
