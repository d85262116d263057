// SPDX-License-Identifier: Apache-2.0
// The interface of a connection: two questions to rtnetlink, the route and the counters.
//
// Not /sys/class/net: a sysfs shows the interfaces of the network namespace that it was mounted in,
// which in a container need not be ours.
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "cleanup.h"
#include "egress.h"

#define REPLY_SIZE 4096

struct egress {
	int netlink;
	unsigned int interface;
};

struct address {
	int family;
	size_t len;
	uint8_t bytes[16];
};

/* ---- rtnetlink ---- */

/* Sends one request that has one answer. *attributes of type RTM_`answer`, whose fixed part has
 * fixed bytes, are left in reply. */
static int ask(int netlink, const struct nlmsghdr *request, uint16_t answer, size_t fixed,
	       struct nlmsghdr *reply, struct rtattr **attributes, size_t *len)
{
	ssize_t n;

	*attributes = NULL; /* a reply without an error is one without attributes */
	*len = 0;
	if (send(netlink, request, request->nlmsg_len, 0) < 0)
		return -errno;
	do
		n = recv(netlink, reply, REPLY_SIZE, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(reply, (size_t)n))
		return -EPROTO;
	if (reply->nlmsg_type == NLMSG_ERROR && reply->nlmsg_len >= NLMSG_LENGTH(sizeof(int)))
		return *(int *)NLMSG_DATA(reply);
	if (reply->nlmsg_type != answer || reply->nlmsg_len < NLMSG_LENGTH(fixed))
		return -EPROTO;
	*attributes = (struct rtattr *)((char *)NLMSG_DATA(reply) + NLMSG_ALIGN(fixed));
	*len = reply->nlmsg_len - NLMSG_SPACE(fixed);
	return 0;
}

static int find_attribute(const struct rtattr *a, size_t len, int type, void *value, size_t size)
{
	for (; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == type && RTA_PAYLOAD(a) >= size) {
			memcpy(value, RTA_DATA(a), size);
			return 0;
		}
	return -ENODATA;
}

/* ---- the route ---- */

static int address_of(const struct sockaddr_storage *from, struct address *a)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;

	if (from->ss_family == AF_INET) {
		*a = (struct address){.family = AF_INET, .len = 4};
		memcpy(a->bytes, &v4->sin_addr, 4);
	} else if (from->ss_family != AF_INET6) {
		return -EAFNOSUPPORT;
	} else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		*a = (struct address){.family = AF_INET, .len = 4};
		memcpy(a->bytes, v6->sin6_addr.s6_addr + 12, 4);
	} else {
		*a = (struct address){.family = AF_INET6, .len = 16};
		memcpy(a->bytes, &v6->sin6_addr, 16);
	}
	return 0;
}

static void put_attribute(struct nlmsghdr *h, uint16_t type, const struct address *a)
{
	struct rtattr *to = (struct rtattr *)((char *)h + NLMSG_ALIGN(h->nlmsg_len));

	to->rta_type = type;
	to->rta_len = (uint16_t)RTA_LENGTH(a->len);
	memcpy(RTA_DATA(to), a->bytes, a->len);
	h->nlmsg_len = (uint32_t)(NLMSG_ALIGN(h->nlmsg_len) + RTA_SPACE(a->len));
}

static int route_interface(int netlink, const struct address *from, const struct address *to,
			   unsigned int *interface)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		char attributes[64];
	} q = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
			  .nlmsg_type = RTM_GETROUTE,
			  .nlmsg_flags = NLM_F_REQUEST},
	       .route = {.rtm_family = (uint8_t)to->family,
			 .rtm_dst_len = (uint8_t)(to->len * 8),
			 .rtm_src_len = (uint8_t)(from->len * 8)}};
	_cleanup_free_ struct nlmsghdr *reply = calloc(1, REPLY_SIZE);
	struct rtattr *attributes;
	size_t len;
	int ret;

	if (!reply)
		return -ENOMEM;
	put_attribute(&q.header, RTA_DST, to);
	put_attribute(&q.header, RTA_SRC, from);
	ret = ask(netlink, &q.header, RTM_NEWROUTE, sizeof(struct rtmsg), reply, &attributes, &len);
	if (ret)
		return ret;
	return find_attribute(attributes, len, RTA_OIF, interface, sizeof(*interface));
}

static int find_interface(int netlink, int fd, unsigned int *interface)
{
	struct sockaddr_storage name = {}, peer = {};
	socklen_t name_len = sizeof(name), peer_len = sizeof(peer), len = sizeof(int);
	struct address from, to;
	int bound = 0, ret;

	if (getsockname(fd, (struct sockaddr *)&name, &name_len) ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_len))
		return -errno;
	ret = address_of(&name, &from);
	if (!ret)
		ret = address_of(&peer, &to);
	if (ret)
		return ret;
	if (!getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &bound, &len) && bound > 0) {
		*interface = (unsigned int)bound;
		return 0;
	}
	return route_interface(netlink, &from, &to, interface);
}

/* ---- the interface ---- */

int egress_new(int connected_fd, struct egress **out, struct errtext *err)
{
	struct egress *e = calloc(1, sizeof(*e));
	int ret;

	if (!e)
		return errtext_set(err, -ENOMEM, "out of memory");
	e->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ret = e->netlink < 0 ? -errno : find_interface(e->netlink, connected_fd, &e->interface);
	if (ret) {
		egress_destroy(e);
		return errtext_set(err, ret,
				   "cannot find the interface of a connection: %s: see `ip route "
				   "get` with the peer's address",
				   strerror(-ret));
	}
	*out = e;
	return 0;
}

void egress_destroy(struct egress *e)
{
	if (!e)
		return;
	cleanup_close(&e->netlink);
	free(e);
}

unsigned int egress_interface(const struct egress *e)
{
	return e->interface;
}

int egress_tx_bytes(struct egress *e, uint64_t *bytes)
{
	struct {
		struct nlmsghdr header;
		struct if_stats_msg stats;
	} q = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct if_stats_msg)),
			  .nlmsg_type = RTM_GETSTATS,
			  .nlmsg_flags = NLM_F_REQUEST},
	       .stats = {.ifindex = e->interface,
			 .filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)}};
	union {
		struct nlmsghdr header;
		char bytes[REPLY_SIZE];
	} reply;
	struct rtnl_link_stats64 counters;
	struct rtattr *attributes;
	/* Older kernels count less at the end of the struct: what we read is in its beginning. */
	size_t needed = offsetof(struct rtnl_link_stats64, tx_bytes) + sizeof(counters.tx_bytes);
	size_t len;
	int ret;

	ret = ask(e->netlink, &q.header, RTM_NEWSTATS, sizeof(struct if_stats_msg), &reply.header,
		  &attributes, &len);
	if (!ret)
		ret = find_attribute(attributes, len, IFLA_STATS_LINK_64, &counters, needed);
	if (!ret)
		*bytes = counters.tx_bytes;
	return ret;
}
