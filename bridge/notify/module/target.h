/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads where notices go to, in the form netconsole made customary:
 *
 *	[src-port]@[src-ip]/[dev],[tgt-port]@<tgt-ip>/[tgt-mac]
 *
 * netpoll_parse_options() does the same but has left the kernel's netpoll for
 * its netconsole, so that modules can no longer count on it.
 */
#ifndef PHYSGDB_TARGET_H
#define PHYSGDB_TARGET_H

#include <linux/etherdevice.h>
#include <linux/inet.h>
#include <linux/netdevice.h>
#include <linux/string.h>

#include "compat.h"

#define TARGET_SOURCE_PORT	6665
#define TARGET_PORT		6666
#define TARGET_DEVICE		"eth0"

/* Where notices go and where they come from. */
struct target {
	char dev_name[IFNAMSIZ];
	__be32 local_ip;	/* 0: that of the device */
	__be32 remote_ip;
	u16 local_port;
	u16 remote_port;
	u8 remote_mac[ETH_ALEN];
};

static int __init target_bad(const char *what, const char *text)
{
	pr_err("notify=: \"%s\" is not %s; expected [src-port]@[src-ip]/[dev],[tgt-port]@<tgt-ip>/[tgt-mac]\n",
	       text, what);
	return -EINVAL;
}

/*
 * Cuts *rest at the first separator and returns the part before it. Without a
 * separator both are NULL, and so they are when *rest was.
 */
static char * __init target_cut(char **rest, const char *separator)
{
	char *part = strsep(rest, separator);

	return *rest ? part : NULL;
}

/* An empty port leaves the default in place. */
static int __init target_port(const char *text, u16 *port)
{
	if (!*text)
		return 0;
	if (kstrtou16(text, 10, port) || !*port)
		return target_bad("a port between 1 and 65535", text);
	return 0;
}

static int __init target_ip(const char *text, __be32 *ip)
{
	const char *end;

	if (!in4_pton(text, -1, (u8 *)ip, -1, &end) || *end)
		return target_bad("an IPv4 address", text);
	return 0;
}

/* The part before the comma. Without an address the device's is used. */
static int __init target_source(struct target *target, char *text)
{
	char *rest = text;
	char *port = target_cut(&rest, "@");
	char *place = rest;
	char *ip = target_cut(&rest, "/");
	int err;

	if (!port)
		return target_bad("[src-port]@[src-ip]/[dev]", text);
	if (!ip)
		return target_bad("[src-ip]/[dev]", place);
	err = target_port(port, &target->local_port);
	if (!err && *ip)
		err = target_ip(ip, &target->local_ip);
	if (err)
		return err;
	if (*rest && strscpy(target->dev_name, rest, IFNAMSIZ) < 0)
		return target_bad("the name of a network device", rest);
	return 0;
}

/* The part after the comma. Without a MAC address the notice is broadcast. */
static int __init target_destination(struct target *target, char *text)
{
	char *rest = text;
	char *port = target_cut(&rest, "@");
	char *ip = strsep(&rest, "/");
	int err;

	if (!port)
		return target_bad("[tgt-port]@<tgt-ip>/[tgt-mac]", text);
	err = target_port(port, &target->remote_port);
	if (!err)
		err = target_ip(ip, &target->remote_ip);
	if (err)
		return err;
	if (rest && *rest && (strlen(rest) != 3 * ETH_ALEN - 1 ||
			      !mac_pton(rest, target->remote_mac)))
		return target_bad("a MAC address", rest);
	return 0;
}

/* Fills target from text, which it cuts into pieces. */
static int __init target_parse(struct target *target, char *text)
{
	char *rest = text;
	char *source = target_cut(&rest, ",");
	int err;

	if (!source)
		return target_bad("two parts with a comma between them", text);
	target->local_port = TARGET_SOURCE_PORT;
	target->remote_port = TARGET_PORT;
	strscpy(target->dev_name, TARGET_DEVICE, IFNAMSIZ);
	eth_broadcast_addr(target->remote_mac);
	err = target_source(target, source);
	return err ? err : target_destination(target, rest);
}

#endif /* PHYSGDB_TARGET_H */
