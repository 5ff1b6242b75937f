/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Builds a UDP datagram with all its headers: netpoll of recent kernels sends
 * complete frames only, having left netpoll_send_udp() to netconsole.
 */
#ifndef PHYSGDB_DATAGRAM_H
#define PHYSGDB_DATAGRAM_H

#include <linux/etherdevice.h>
#include <linux/ip.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/udp.h>

#include <net/checksum.h>
#include <net/ip.h>

#include "target.h"

#define DATAGRAM_TTL 64

/* Returns a buffer for a datagram over dev with up to size bytes of payload. */
static struct sk_buff * __init datagram_alloc(const struct net_device *dev,
					      unsigned int size)
{
	/* LL_RESERVED_SPACE() leaves room for an Ethernet header at least. */
	unsigned int head = LL_RESERVED_SPACE(dev) + sizeof(struct iphdr) +
			    sizeof(struct udphdr);
	struct sk_buff *skb;

	skb = alloc_skb(head + size + dev->needed_tailroom, GFP_KERNEL);
	if (skb)
		skb_reserve(skb, head);
	return skb;
}

static void datagram_udp(struct sk_buff *skb, const struct target *target)
{
	struct udphdr *udp = skb_push(skb, sizeof(*udp));
	unsigned int len = skb->len;

	skb_reset_transport_header(skb);
	udp->source = htons(target->local_port);
	udp->dest = htons(target->remote_port);
	udp->len = htons(len);
	udp->check = 0;
	udp->check = csum_tcpudp_magic(target->local_ip, target->remote_ip,
				       len, IPPROTO_UDP,
				       csum_partial(udp, len, 0));
	if (!udp->check)
		udp->check = CSUM_MANGLED_0;
}

static void datagram_ip(struct sk_buff *skb, const struct target *target,
			u16 id)
{
	struct iphdr *ip = skb_push(skb, sizeof(*ip));

	skb_reset_network_header(skb);
	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = htons(skb->len);
	ip->id = htons(id);
	ip->ttl = DATAGRAM_TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = target->local_ip;
	ip->daddr = target->remote_ip;
	ip->check = ip_fast_csum(ip, ip->ihl);
}

static void datagram_ethernet(struct sk_buff *skb, const struct target *target,
			      struct net_device *dev)
{
	struct ethhdr *eth = skb_push(skb, ETH_HLEN);

	skb_reset_mac_header(skb);
	ether_addr_copy(eth->h_source, dev->dev_addr);
	ether_addr_copy(eth->h_dest, target->remote_mac);
	eth->h_proto = htons(ETH_P_IP);
	skb->protocol = eth->h_proto;
	skb->dev = dev;
}

/* Fills an empty buffer with payload and headers. */
static void datagram_fill(struct sk_buff *skb, const struct target *target,
			  struct net_device *dev, u16 id, const char *payload,
			  unsigned int len)
{
	skb_put_data(skb, payload, len);
	datagram_udp(skb, target);
	datagram_ip(skb, target, id);
	datagram_ethernet(skb, target, dev);
}

#endif /* PHYSGDB_DATAGRAM_H */
