// SPDX-License-Identifier: Apache-2.0
// TCP: options, connect with a timeout over all addresses of a name, listen, accept.
//
// Buffer sizes, the binding and the congestion control are set before connect(2) or listen(2):
// the window scale is agreed in the handshake, and accepted sockets inherit from the listener.
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "cleanup.h"
#include "deadline.h"
#include "socket.h"

/* Silence before the kernel asks an idle peer for a sign of life, and how it asks. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES 3

#define LISTEN_BACKLOG 128 /* a migration opens WIRE_STREAMS_MAX connections at once */

static void cleanup_addrinfo(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}
#define _cleanup_addrinfo_ _cleanup_(cleanup_addrinfo)

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

/* The FORCE variant passes net.core.[rw]mem_max, for those who may. */
static int set_buffer(int fd, int forced, int plain, uint32_t bytes)
{
	int value = bytes > INT32_MAX ? INT32_MAX : (int)bytes;

	if (!bytes || !set_int(fd, SOL_SOCKET, forced, value))
		return 0;
	return set_int(fd, SOL_SOCKET, plain, value);
}

static int set_congestion(int fd, const char *name, struct errtext *err)
{
	if (!*name || !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name)))
		return 0;
	if (errno == EPERM)
		return errtext_set(err, -EPERM,
				   "congestion control '%s' is not allowed: see "
				   "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
				   name);
	return errtext_set(err, -errno,
			   "congestion control '%s' cannot be used: %s: see "
			   "/proc/sys/net/ipv4/tcp_available_congestion_control",
			   name, strerror(errno));
}

static int set_options(int fd, const struct socket_options *opt, struct errtext *err)
{
	int ret = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	if (!ret)
		ret = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	if (!ret && opt && opt->user_timeout_ms)
		ret = set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)opt->user_timeout_ms);
	if (!ret && opt)
		ret = set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, opt->sndbuf);
	if (!ret && opt)
		ret = set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, opt->rcvbuf);
	if (ret)
		return errtext_set(err, ret, "cannot set TCP options: %s", strerror(-ret));
	return opt ? set_congestion(fd, opt->congestion, err) : 0;
}

/* ---- binding ---- */

/* What opt->bind means: an address, an interface, or nothing at all. */
struct binding {
	struct sockaddr_storage addr;
	socklen_t len;		     /* 0: no address */
	char interface[IF_NAMESIZE]; /* empty: no interface */
};

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (!a || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return !memcmp(&((const struct sockaddr_in *)a)->sin_addr,
			       &((const struct sockaddr_in *)b)->sin_addr, sizeof(struct in_addr));
	return a->sa_family == AF_INET6 &&
	       !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		       &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr));
}

/* IPv4 /32, IPv6 /128 */
static bool is_of_one_host(const struct sockaddr *mask)
{
	static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255,
					 255, 255, 255, 255, 255, 255, 255, 255};
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)mask;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)mask;

	if (!mask)
		return false;
	if (mask->sa_family == AF_INET)
		return memcmp(&v4->sin_addr, ones, sizeof(v4->sin_addr)) == 0;
	return mask->sa_family == AF_INET6 &&
	       memcmp(&v6->sin6_addr, ones, sizeof(v6->sin6_addr)) == 0;
}

/* A routed host address, on loopback or the like, may be reached by any interface. */
static bool is_of_a_network(const struct ifaddrs *i)
{
	return !(i->ifa_flags & IFF_LOOPBACK) && !is_of_one_host(i->ifa_netmask);
}

/* To bind to an address alone leaves the route to choose the interface: guest memory would cross
 * whatever network leads to the destination. */
static void bind_its_interface(struct binding *b)
{
	struct ifaddrs *list;

	if (getifaddrs(&list))
		return;
	for (const struct ifaddrs *i = list; i; i = i->ifa_next)
		if (same_address(i->ifa_addr, &b->addr) && is_of_a_network(i))
			snprintf(b->interface, sizeof(b->interface), "%s", i->ifa_name);
	freeifaddrs(list);
}

static int binding_parse(const struct socket_options *opt, struct binding *b, struct errtext *err)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	_cleanup_addrinfo_ struct addrinfo *list = NULL;

	*b = (struct binding){};
	if (!opt || !*opt->bind)
		return 0;
	if (!getaddrinfo(opt->bind, NULL, &hints, &list)) {
		memcpy(&b->addr, list->ai_addr, list->ai_addrlen);
		b->len = list->ai_addrlen;
		bind_its_interface(b);
		return 0;
	}
	if (!if_nametoindex(opt->bind))
		return errtext_set(err, -ENODEV,
				   "cannot bind to '%s': neither a numeric address nor a network "
				   "interface of this host",
				   opt->bind);
	snprintf(b->interface, sizeof(b->interface), "%.*s", IF_NAMESIZE - 1, opt->bind);
	return 0;
}

static bool binding_allows(const struct binding *b, int family)
{
	return !b->len || b->addr.ss_family == family;
}

static int binding_apply(const struct binding *b, int fd, struct errtext *err)
{
	if (*b->interface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, b->interface,
					(socklen_t)strlen(b->interface) + 1))
		return errtext_set(err, -errno, "cannot bind to interface '%s': %s", b->interface,
				   strerror(errno));
	return 0;
}

/* ---- connect ---- */

static int connect_wait(int fd, int timeout_ms)
{
	struct deadline deadline;
	socklen_t len = sizeof(int);
	int ret, soerr = 0;

	deadline_set(&deadline, timeout_ms);
	ret = deadline_await(&deadline, fd, POLLOUT);
	if (ret < 0)
		return ret;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &soerr, &len))
		return -errno;
	return -soerr;
}

/* One address. A failure of the options or of the binding fills err; one of the network does not,
 * since another address may do. */
static int connect_address(const struct addrinfo *to, const struct binding *from,
			   const struct socket_options *opt, int timeout_ms, int *out,
			   struct errtext *err)
{
	_cleanup_close_ int fd =
		socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	int ret, flags;

	if (fd < 0)
		return -errno;
	ret = set_options(fd, opt, err);
	if (!ret)
		ret = binding_apply(from, fd, err);
	if (ret)
		return ret;
	if (from->len && bind(fd, (const struct sockaddr *)&from->addr, from->len))
		return errtext_set(err, -errno, "cannot bind to address '%s': %s", opt->bind,
				   strerror(errno));
	if (connect(fd, to->ai_addr, to->ai_addrlen)) {
		ret = errno == EINPROGRESS ? connect_wait(fd, timeout_ms) : -errno;
		if (ret)
			return ret;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

static const char *connect_hint(int code)
{
	switch (code) {
	case -ECONNREFUSED:
		return ": is `dray receive` running there?";
	case -ETIMEDOUT:
		return ": does a firewall block the port?";
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return ": is there a route to it?";
	case -EAFNOSUPPORT:
		return ": it has no address of the family bound to";
	default:
		return "";
	}
}

static int connect_any(const struct addrinfo *list, const struct binding *from,
		       const struct socket_options *opt, int timeout_ms, int *fd,
		       struct errtext *err)
{
	int ret = -EAFNOSUPPORT, left = 0;
	struct deadline deadline;
	const struct addrinfo *a;

	deadline_set(&deadline, timeout_ms);
	for (a = list; a; a = a->ai_next)
		left += binding_allows(from, a->ai_family);
	for (a = list; a; a = a->ai_next) {
		int ms = deadline_left_ms(&deadline);

		if (!binding_allows(from, a->ai_family))
			continue;
		/* An address that swallows packets must not use up the time of the others. */
		ret = connect_address(a, from, opt, ms < 0 ? -1 : ms / left, fd, err);
		if (!ret || (err && *err->text))
			return ret;
		left--;
	}
	return ret;
}

int socket_connect(const char *host, uint16_t port, const struct socket_options *opt,
		   int timeout_ms, int *fd, struct errtext *err)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	const char *open = strchr(host, ':') ? "[" : "", *shut = *open ? "]" : "";
	_cleanup_addrinfo_ struct addrinfo *list = NULL;
	struct binding from;
	char service[8];
	int ret;

	ret = binding_parse(opt, &from, err);
	if (ret)
		return ret;
	snprintf(service, sizeof(service), "%u", port);
	ret = getaddrinfo(host, service, &hints, &list);
	if (ret)
		return errtext_set(err, ret == EAI_SYSTEM ? -errno : -ENOENT,
				   "cannot find the address of '%s': %s", host, gai_strerror(ret));
	ret = connect_any(list, &from, opt, timeout_ms, fd, err);
	if (ret)
		return errtext_set(err, ret, "cannot reach %s%s%s:%u: %s%s", open, host, shut, port,
				   strerror(-ret), connect_hint(ret));
	return 0;
}

/* ---- listen and accept ---- */

static int listen_address(const struct binding *b, const struct socket_options *opt, int *out,
			  struct errtext *err)
{
	_cleanup_close_ int fd = socket(b->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int ret;

	if (fd < 0)
		return -errno;
	/* A restarted receiver must not wait for its predecessor's TIME_WAIT. */
	ret = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!ret && b->addr.ss_family == AF_INET6)
		ret = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (!ret)
		ret = set_options(fd, opt, err);
	if (!ret)
		ret = binding_apply(b, fd, err);
	if (ret)
		return ret;
	if (bind(fd, (const struct sockaddr *)&b->addr, b->len) || listen(fd, LISTEN_BACKLOG))
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

static void binding_any(struct binding *b, int family, uint16_t port)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&b->addr;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&b->addr;

	if (!b->len) {
		b->addr.ss_family = (sa_family_t)family;
		b->len = family == AF_INET6 ? sizeof(*v6) : sizeof(*v4);
	}
	if (b->addr.ss_family == AF_INET6)
		v6->sin6_port = htons(port);
	else
		v4->sin_port = htons(port);
}

int socket_listen(const struct socket_options *opt, uint16_t port, int *fd, struct errtext *err)
{
	struct binding given, b;
	int ret;

	ret = binding_parse(opt, &given, err);
	if (ret)
		return ret;
	b = given;
	binding_any(&b, AF_INET6, port);
	ret = listen_address(&b, opt, fd, err);
	/* Without IPv6, the wildcard of IPv4 is all there is. */
	if (!given.len && (ret == -EAFNOSUPPORT || ret == -EADDRNOTAVAIL)) {
		b = given;
		binding_any(&b, AF_INET, port);
		ret = listen_address(&b, opt, fd, err);
	}
	if (!ret)
		return 0;
	return errtext_set(err, ret, "cannot listen on %s port %u: %s%s",
			   opt && *opt->bind ? opt->bind : "any address,", port, strerror(-ret),
			   ret == -EADDRINUSE ? ": is another `dray receive` running?" : "");
}

static void peer_name(const struct sockaddr_storage *addr, socklen_t len,
		      char peer[SOCKET_PEER_SIZE])
{
	char host[NI_MAXHOST], service[NI_MAXSERV];
	const char *name = host;
	bool v6;

	if (getnameinfo((const struct sockaddr *)addr, len, host, sizeof(host), service,
			sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV)) {
		snprintf(peer, SOCKET_PEER_SIZE, "unknown peer");
		return;
	}
	/* IPv4 through the dual-stack listener: show it as people write it. */
	if (!strncmp(host, "::ffff:", 7) && strchr(host, '.'))
		name = host + 7;
	v6 = strchr(name, ':');
	snprintf(peer, SOCKET_PEER_SIZE, v6 ? "[%.52s]:%.6s" : "%.54s:%.6s", name, service);
}

int socket_accept(int listen_fd, const struct socket_options *opt, int *fd,
		  char peer[SOCKET_PEER_SIZE], struct errtext *err)
{
	struct sockaddr_storage addr = {};
	socklen_t len = sizeof(addr);
	_cleanup_close_ int conn = -1;
	int ret;

	do
		conn = accept4(listen_fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC);
	while (conn < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (conn < 0)
		return errtext_set(err, -errno, "cannot accept a connection: %s", strerror(errno));
	ret = set_options(conn, opt, err);
	if (ret)
		return ret;
	peer_name(&addr, len, peer);
	*fd = steal_fd(&conn);
	return 0;
}

void socket_peer(int fd, char peer[SOCKET_PEER_SIZE])
{
	struct sockaddr_storage addr = {};
	socklen_t len = sizeof(addr);

	getpeername(fd, (struct sockaddr *)&addr, &len);
	peer_name(&addr, len, peer);
}

int socket_port(int fd, uint16_t *port)
{
	struct sockaddr_storage addr = {};
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		return -errno;
	if (addr.ss_family == AF_INET6)
		*port = ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
	else if (addr.ss_family == AF_INET)
		*port = ntohs(((struct sockaddr_in *)&addr)->sin_port);
	else
		return -EAFNOSUPPORT;
	return 0;
}
