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
#include <linux/netpoll.h>
#include <linux/string.h>

#define TARGET_SOURCE_PORT	6665
#define TARGET_PORT		6666
#define TARGET_DEVICE		"eth0"

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

static int __init target_ip(const char *text, union inet_addr *ip)
{
	const char *end;

	if (!in4_pton(text, -1, (u8 *)&ip->ip, -1, &end) || *end)
		return target_bad("an IPv4 address", text);
	return 0;
}

/* The part before the comma. Without an address netpoll takes the device's. */
static int __init target_source(struct netpoll *np, char *text)
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
	err = target_port(port, &np->local_port);
	if (!err && *ip)
		err = target_ip(ip, &np->local_ip);
	if (err)
		return err;
	if (*rest && strscpy(np->dev_name, rest, IFNAMSIZ) < 0)
		return target_bad("the name of a network device", rest);
	return 0;
}

/* The part behind the comma. Without a MAC address the notice is broadcast. */
static int __init target_destination(struct netpoll *np, char *text)
{
	char *rest = text;
	char *port = target_cut(&rest, "@");
	char *ip = strsep(&rest, "/");
	int err;

	if (!port)
		return target_bad("[tgt-port]@<tgt-ip>/[tgt-mac]", text);
	err = target_port(port, &np->remote_port);
	if (!err)
		err = target_ip(ip, &np->remote_ip);
	if (err)
		return err;
	if (rest && *rest && (strlen(rest) != 3 * ETH_ALEN - 1 ||
			      !mac_pton(rest, np->remote_mac)))
		return target_bad("a MAC address", rest);
	return 0;
}

/* Fills np from text, which it cuts into pieces. */
static int __init target_parse(struct netpoll *np, char *text)
{
	char *rest = text;
	char *source = target_cut(&rest, ",");
	int err;

	if (!source)
		return target_bad("two parts with a comma between them", text);
	np->local_port = TARGET_SOURCE_PORT;
	np->remote_port = TARGET_PORT;
	strscpy(np->dev_name, TARGET_DEVICE, IFNAMSIZ);
	eth_broadcast_addr(np->remote_mac);
	err = target_source(np, source);
	return err ? err : target_destination(np, rest);
}

#endif /* PHYSGDB_TARGET_H */
