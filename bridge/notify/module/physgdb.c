// SPDX-License-Identifier: GPL-2.0
/*
 * physgdb - send the address of the page tables when the kernel panics
 *
 * When the kernel panics, one UDP datagram names CR3 and the registers of
 * panic(), so that a debugger that can still read this machine's memory knows
 * where to begin. /proc/physgdb contains the same for the process that reads it.
 *
 * See README.md in this directory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/inetdevice.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netpoll.h>
#include <linux/notifier.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/utsname.h>

#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/special_insns.h>
#include <asm/unwind.h>

#include "compat.h"
#include "datagram.h"
#include "json.h"
#include "target.h"

#define PROC_NAME	"physgdb"
#define COPIES		3	/* datagrams are not acknowledged */
#define PAUSE_MS	20	/* between copies: outlast a short burst of loss */
#define NOTICE_SIZE	1400	/* an Ethernet frame holds 1472: tunnels add headers */
#define EVENT_MAX	16
#define CALL_SIZE	5	/* bytes of a direct call instruction */

static char *notify;
module_param(notify, charp, 0400);
MODULE_PARM_DESC(notify,
	"where notices go: [src-port]@[src-ip]/[dev],[tgt-port]@<tgt-ip>/[tgt-mac]");

static struct target target;

/* NULL while there is no device to send over. Written under rtnl_lock(). */
static struct netpoll __rcu *sender;

/* Allocated in advance: a dying kernel has neither memory nor stack to spare. */
static struct sk_buff *datagrams[COPIES];
static char notice[NOTICE_SIZE];

/* --- the fields of every notice ------------------------------------------ */

static void put_head(struct json *j, const char *event)
{
	json_dec(j, "physgdb", 1);
	json_str(j, "event", event, EVENT_MAX);
	json_str(j, "host", init_uts_ns.name.nodename, __NEW_UTS_LEN);
}

static void put_paging(struct json *j)
{
	u64 efer;

	rdmsrq(MSR_EFER, efer);
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

/* Modules can get the size of a function only in a printed form. */
static void __init panic_measure(void)
{
	char text[KSYM_SYMBOL_LEN];
	const char *slash;

	sprint_symbol(text, panic_function());
	slash = strrchr(text, '/');
	if (!slash || sscanf(slash, "/0x%lx", &panic_size) != 1)
		pr_warn("cannot find the end of panic() in \"%s\": notices will lack registers\n",
			text);
}

/*
 * Adds the registers of panic_function(). They stay valid after the notifiers
 * have run, whereas the frames of its callees are soon overwritten.
 */
static void put_registers(struct json *j)
{
	struct unwind_state frame;
	unsigned long ip;

	for (unwind_start(&frame, current, NULL, NULL); !unwind_done(&frame);
	     unwind_next_frame(&frame)) {
		ip = unwind_get_return_address(&frame);
		if (ip - panic_function() >= panic_size)
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

	rdmsrq(MSR_GS_BASE, gs_base);
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

/*
 * Runs once, with interrupts off and the other CPUs stopped. The notifier chain
 * holds the RCU read lock.
 */
static int panic_notify(struct notifier_block *nb, unsigned long event,
			void *message)
{
	struct netpoll *np = rcu_dereference(sender);
	unsigned int len, i;

	if (!np)
		return NOTIFY_DONE;
	len = notice_write(message);
	for (i = 0; i < COPIES; i++) {
		datagram_fill(datagrams[i], &target, np->dev, i, notice, len);
		netpoll_send_skb(np, datagrams[i]);
		mdelay(PAUSE_MS);
	}
	return NOTIFY_DONE;
}

/* First of all, because a later notifier may hang. */
static struct notifier_block panic_block = {
	.notifier_call = panic_notify,
	.priority = INT_MAX,
};

static void datagrams_free(void)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++)
		kfree_skb(datagrams[i]);
}

static int __init datagrams_alloc(const struct net_device *dev)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++) {
		datagrams[i] = datagram_alloc(dev, NOTICE_SIZE);
		if (!datagrams[i])
			return -ENOMEM;
	}
	return 0;
}

/* --- the network device -------------------------------------------------- */

/* Returns the device's first IPv4 address, or 0. */
static __be32 __init device_address(const struct net_device *dev)
{
	const struct in_device *in_dev = __in_dev_get_rtnl(dev);
	const struct in_ifaddr *address;

	if (!in_dev)
		return 0;
	address = rtnl_dereference(in_dev->ifa_list);
	return address ? address->ifa_local : 0;
}

/*
 * Starts netpoll on the device. netpoll_setup() lost its addresses on the way
 * from 5.10 to 7.3; __netpoll_setup() and __netpoll_free(), which bonds and
 * bridges use for their own devices, have stayed the same.
 */
static int __init device_start(struct net_device *dev)
{
	struct netpoll *np = kzalloc(sizeof(*np), GFP_KERNEL);
	int err;

	if (!np)
		return -ENOMEM;
	np->name = KBUILD_MODNAME;
	err = __netpoll_setup(np, dev);
	if (err) {
		kfree(np);
		return err;
	}
	dev_hold(dev);
	rcu_assign_pointer(sender, np);
	return 0;
}

/* The caller holds rtnl_lock(). */
static int __init device_open(void)
{
	struct net_device *dev = __dev_get_by_name(&init_net, target.dev_name);
	int err;

	if (!dev)
		return -ENODEV;
	if (!netif_running(dev))
		return -ENETDOWN;
	if (!target.local_ip)
		target.local_ip = device_address(dev);
	if (!target.local_ip)
		return -EDESTADDRREQ;
	err = datagrams_alloc(dev);
	return err ? err : device_start(dev);
}

/* The caller holds rtnl_lock(). */
static void device_release(void)
{
	struct netpoll *np = rtnl_dereference(sender);
	struct net_device *dev;

	if (!np)
		return;
	dev = np->dev;
	RCU_INIT_POINTER(sender, NULL);
	__netpoll_free(np);	/* waits for RCU readers first */
	dev_put(dev);
}

/* Releases a device that is being removed, which waits until nothing uses it. */
static int device_notify(struct notifier_block *nb, unsigned long event,
			 void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);
	struct netpoll *np = rtnl_dereference(sender);

	if (event != NETDEV_UNREGISTER || !np || dev != np->dev)
		return NOTIFY_DONE;
	pr_warn("%s is going away: no more notices until physgdb is loaded again\n",
		dev->name);
	device_release();
	return NOTIFY_DONE;
}

static struct notifier_block device_block = { .notifier_call = device_notify };

/* --- load and unload ----------------------------------------------------- */

static int __init target_read(void)
{
	char *text = kstrdup(notify, GFP_KERNEL);
	int err;

	if (!text)
		return -ENOMEM;
	err = target_parse(&target, text);
	kfree(text);
	return err;
}

static void notices_stop(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_block);
	rtnl_lock();
	device_release();
	rtnl_unlock();
	unregister_netdevice_notifier(&device_block);
	datagrams_free();
}

static int __init notices_start(void)
{
	int err = target_read();

	if (err)
		return err;
	err = register_netdevice_notifier(&device_block);
	if (err)
		return err;
	panic_measure();
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
	rtnl_lock();
	err = device_open();
	rtnl_unlock();
	if (err) {
		pr_err("cannot send notices over %s (%d): is it there and up, and has it an address?\n",
		       target.dev_name, err);
		notices_stop();
		return err;
	}
	pr_info("panic notices go from %pI4:%u over %s to %pI4:%u (%pM)\n",
		&target.local_ip, target.local_port, target.dev_name,
		&target.remote_ip, target.remote_port, target.remote_mac);
	return 0;
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
