// SPDX-License-Identifier: Apache-2.0
// Sockets: endpoint texts, TCP and UNIX connections over loopback, exact transfers.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "socket.h"

TestSuite(socket, .timeout = 30);

/* ---- endpoints ---- */

struct endpoint {
	char text[64], host[64];
	uint16_t port; /* 0: must be refused */
};

ParameterizedTestParameters(socket, endpoint)
{
	static struct endpoint rows[] = {
		{"host", "host", 7470},
		{"host:1", "host", 1},
		{"10.0.0.2:65535", "10.0.0.2", 65535},
		{"[::1]", "::1", 7470},
		{"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
		{"fe80::1", "fe80::1", 7470},
		{"::", "::", 7470},
		{"", "", 0},
		{"root@host", "", 0},
		{"qemu+ssh://host/system", "", 0},
		{":80", "", 0},
		{"host:", "", 0},
		{"host:0", "", 0},
		{"host:65536", "", 0},
		{"host:99999999999", "", 0},
		{"host:+1", "", 0},
		{"host: 1", "", 0},
		{"[::1", "", 0},
		{"[::1]80", "", 0},
		{"[::1]:", "", 0},
		{"[]:80", "", 0},
	};

	return cr_make_param_array(struct endpoint, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct endpoint *row, socket, endpoint)
{
	char host[SOCKET_HOST_SIZE] = "";
	struct errtext err = {};
	uint16_t port = 0;
	int ret = socket_parse_endpoint(row->text, 7470, host, &port, &err);

	if (!row->port) {
		cr_assert_eq(ret, -EINVAL, "'%s' was accepted", row->text);
		cr_assert(err.text[0]);
		return;
	}
	cr_assert_eq(ret, 0, "%s", err.text);
	cr_assert_str_eq(host, row->host);
	cr_assert_eq(port, row->port);
}

Test(socket, endpoint_host_too_long)
{
	char text[SOCKET_HOST_SIZE + 1], host[SOCKET_HOST_SIZE];
	uint16_t port;

	memset(text, 'x', SOCKET_HOST_SIZE);
	text[SOCKET_HOST_SIZE] = '\0';
	cr_assert_eq(socket_parse_endpoint(text, 1, host, &port, NULL), -EINVAL);
	text[SOCKET_HOST_SIZE - 1] = '\0';
	cr_assert_eq(socket_parse_endpoint(text, 1, host, &port, NULL), 0);
}

/* ---- TCP ---- */

struct pair {
	int listener, client, server;
	uint16_t port;
	char peer[SOCKET_PEER_SIZE];
};

static void pair_open(struct pair *p, const char *host, const struct socket_options *opt)
{
	struct errtext err = {};

	cr_assert_eq(socket_listen(opt, 0, &p->listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(p->listener, &p->port), 0);
	cr_assert_eq(socket_connect(host, p->port, opt, 5000, &p->client, &err), 0, "%s", err.text);
	cr_assert_eq(socket_accept(p->listener, opt, &p->server, p->peer, &err), 0, "%s", err.text);
}

static void pair_close(struct pair *p)
{
	close(p->listener);
	close(p->client);
	close(p->server);
}

static void expect_transfer(int from, int to)
{
	char buf[6] = "";

	cr_assert_eq(socket_write_full(from, "hello", 6, 5000), 0);
	cr_assert_eq(socket_read_full(to, buf, 6, 5000), 0);
	cr_assert_str_eq(buf, "hello");
}

Test(socket, tcp_v4_over_the_default_listener)
{
	struct pair p;

	pair_open(&p, "127.0.0.1", NULL);
	expect_transfer(p.client, p.server);
	expect_transfer(p.server, p.client);
	cr_assert(!strncmp(p.peer, "127.0.0.1:", 10), "%s", p.peer);
	cr_assert_eq(fcntl(p.client, F_GETFL) & O_NONBLOCK, 0);
	cr_assert(fcntl(p.client, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(p.server, F_GETFD) & FD_CLOEXEC);
	pair_close(&p);
}

Test(socket, tcp_v6)
{
	struct socket_options opt = {.bind = "::1"};
	struct errtext err = {};
	struct pair p;
	int fd;

	if (socket_listen(&opt, 0, &fd, &err)) {
		cr_skip_test("no IPv6 loopback here: %s", err.text);
	}
	close(fd);
	pair_open(&p, "::1", &opt);
	expect_transfer(p.client, p.server);
	cr_assert(!strncmp(p.peer, "[::1]:", 6), "%s", p.peer);
	pair_close(&p);
}

static int option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	cr_assert_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void expect_options(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	cr_assert_str_eq(name, "reno");
	cr_assert_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
	cr_assert(option(fd, IPPROTO_TCP, TCP_NODELAY));
	cr_assert(option(fd, SOL_SOCKET, SO_KEEPALIVE));
	/* The kernel doubles what it is given. */
	cr_assert_eq(option(fd, SOL_SOCKET, SO_SNDBUF), 2 * 100000);
	cr_assert_eq(option(fd, SOL_SOCKET, SO_RCVBUF), 2 * 110000);
}

Test(socket, tcp_options_on_both_ends)
{
	struct socket_options opt = {.congestion = "reno",
				     .user_timeout_ms = 12345,
				     .sndbuf = 100000,
				     .rcvbuf = 110000,
				     .bind = "127.0.0.1"};
	struct pair p;

	pair_open(&p, "127.0.0.1", &opt);
	expect_options(p.client);
	expect_options(p.server);
	pair_close(&p);
}

Test(socket, tcp_bound_to_an_interface)
{
	struct socket_options opt = {.bind = "lo"};
	struct errtext err = {};
	struct pair p;
	int fd;

	if (socket_listen(&opt, 0, &fd, &err) == -EPERM) {
		cr_skip_test("not allowed to bind to an interface: %s", err.text);
	}
	close(fd);
	pair_open(&p, "127.0.0.1", &opt);
	expect_transfer(p.client, p.server);
	pair_close(&p);
}

/* One interface has the addresses of a single host, the route leads by another one, behind which
 * nobody answers. */
static void own_network(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("cannot have a network of its own: %s", strerror(errno));
	if (system("ip link add h0 type veth peer name h1 && ip link add h2 type veth peer name h3 "
		   "&& "
		   "for i in lo h0 h1 h2 h3; do ip link set $i up; done && "
		   "ip addr add 10.9.0.1/32 dev h0 && ip addr add fd09::1/128 dev h0 nodad && "
		   "ip route add 10.8.0.0/24 dev h2 && ip route add fd08::/64 dev h2") != 0)
		cr_skip_test("cannot set up a network");
}

static struct host_address {
	char from[32], to[32];
} host_addresses[] = {{"10.9.0.1", "10.8.0.1"}, {"fd09::1", "fd08::1"}};

ParameterizedTestParameters(socket, tcp_bound_to_a_host_address)
{
	return cr_make_param_array(struct host_address, host_addresses, 2);
}

ParameterizedTest(struct host_address *row, socket, tcp_bound_to_a_host_address)
{
	struct socket_options opt = {};
	struct errtext err = {};
	int fd, ret;

	own_network();
	strcpy(opt.bind, row->from);
	ret = socket_connect(row->to, 7470, &opt, 100, &fd, &err);
	cr_assert_eq(ret, -ETIMEDOUT, "%s", err.text);
}

Test(socket, tcp_bound_to_a_source_address)
{
	struct socket_options opt = {.bind = "127.0.0.7"};
	struct pair p;

	pair_open(&p, "127.0.0.7", &opt);
	cr_assert(!strncmp(p.peer, "127.0.0.7:", 10), "%s", p.peer);
	pair_close(&p);
}

Test(socket, errors_name_the_object_and_the_remedy)
{
	struct socket_options opt = {.congestion = "nonesuch"};
	struct errtext err = {};
	char expected[128];
	uint16_t port;
	int fd;

	/* A port that was free a moment ago. */
	cr_assert_eq(socket_listen(NULL, 0, &fd, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(fd, &port), 0);
	close(fd);
	cr_assert_eq(socket_connect("127.0.0.1", port, NULL, 5000, &fd, &err), -ECONNREFUSED);
	snprintf(expected, sizeof(expected),
		 "cannot reach 127.0.0.1:%u: Connection refused: is `dray receive` running there?",
		 port);
	cr_assert_str_eq(err.text, expected);

	err.text[0] = '\0';
	cr_assert_eq(socket_listen(&opt, 0, &fd, &err), -ENOENT);
	cr_assert(strstr(err.text, "'nonesuch'"), "%s", err.text);

	err.text[0] = '\0';
	strcpy(opt.bind, "no-such-dev");
	cr_assert_eq(socket_connect("127.0.0.1", port, &opt, 5000, &fd, &err), -ENODEV);
	cr_assert(strstr(err.text, "'no-such-dev'"), "%s", err.text);

	err.text[0] = '\0';
	opt = (struct socket_options){.bind = "::1"};
	cr_assert_lt(socket_connect("127.0.0.1", port, &opt, 5000, &fd, &err), 0);
	cr_assert(err.text[0]);
}

Test(socket, port_in_use)
{
	struct errtext err = {};
	uint16_t port;
	int fd, second;

	cr_assert_eq(socket_listen(NULL, 0, &fd, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(fd, &port), 0);
	cr_assert_eq(socket_listen(NULL, port, &second, &err), -EADDRINUSE);
	cr_assert(strstr(err.text, "dray receive"), "%s", err.text);
	close(fd);
}

/* A listener whose queue is full drops further SYNs: no answer at all. */
Test(socket, connect_times_out)
{
	int listener, fds[8], n = 0, ret = 0;
	struct errtext err = {};
	uint16_t port;

	cr_assert_eq(socket_listen(NULL, 0, &listener, &err), 0, "%s", err.text);
	cr_assert_eq(listen(listener, 0), 0);
	cr_assert_eq(socket_port(listener, &port), 0);
	while (!ret && n < 8) {
		ret = socket_connect("127.0.0.1", port, NULL, 50, &fds[n], &err);
		n += !ret;
	}
	cr_assert_eq(ret, -ETIMEDOUT);
	cr_assert(strstr(err.text, "firewall"), "%s", err.text);
	while (n--)
		close(fds[n]);
	close(listener);
}

/* ---- UNIX ---- */

static void unix_path(char path[64])
{
	snprintf(path, 64, "/tmp/dray-test-socket-%d", getpid());
}

Test(socket, unix_replaces_a_stale_socket_only)
{
	struct errtext err = {};
	int fd, second, client, server;
	char path[64];

	unix_path(path);
	cr_assert_eq(socket_unix_listen(path, 1, &fd, &err), 0, "%s", err.text);
	cr_assert_eq(socket_unix_listen(path, 1, &second, &err), -EADDRINUSE);
	close(fd);
	err.text[0] = '\0';
	cr_assert_eq(socket_unix_connect(path, &client, &err), -ECONNREFUSED);
	cr_assert(strstr(err.text, path), "%s", err.text);
	err.text[0] = '\0';
	cr_assert_eq(socket_unix_listen(path, 1, &fd, &err), 0, "%s", err.text);
	cr_assert_eq(socket_unix_connect(path, &client, &err), 0, "%s", err.text);
	server = accept(fd, NULL, NULL);
	expect_transfer(client, server);
	close(client);
	close(server);
	close(fd);
	unlink(path);
}

Test(socket, unix_never_removes_a_file)
{
	struct errtext err = {};
	struct stat st;
	char path[64];
	int fd;

	unix_path(path);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(socket_unix_listen(path, 1, &fd, &err), -EEXIST);
	cr_assert_eq(stat(path, &st), 0);
	unlink(path);
}

Test(socket, unix_path_too_long)
{
	struct errtext err = {};
	char path[200];
	int fd;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(socket_unix_listen(path, 1, &fd, &err), -ENAMETOOLONG);
	cr_assert_eq(socket_unix_connect("", &fd, NULL), -ENAMETOOLONG);
}

/* ---- exact transfers ---- */

Test(socket, read_full_tells_an_end_from_a_break)
{
	char buf[4];
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(socket_write_full(fds[0], "abcdef", 6, -1), 0);
	close(fds[0]);
	cr_assert_eq(socket_read_full(fds[1], buf, 4, -1), 0);
	cr_assert_eq(socket_read_full(fds[1], buf, 4, -1), -ECONNRESET);
	cr_assert_eq(socket_read_full(fds[1], buf, 4, -1), -ENODATA);
	cr_assert_eq(socket_write_full(fds[1], buf, 4, -1), -EPIPE);
	close(fds[1]);
}

Test(socket, full_transfers_time_out)
{
	static char big[8 << 20];
	char buf[4];
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(socket_read_full(fds[1], buf, 4, 0), -ETIMEDOUT);
	cr_assert_eq(socket_write_full(fds[0], "ab", 2, 0), 0);
	cr_assert_eq(socket_read_full(fds[1], buf, 4, 10), -ETIMEDOUT);
	cr_assert_eq(socket_write_full(fds[0], big, sizeof(big), 10), -ETIMEDOUT);
	close(fds[0]);
	close(fds[1]);
}

static void *write_big(void *arg)
{
	static char big[8 << 20];
	int fd = *(int *)arg;

	return (void *)(intptr_t)socket_write_full(fd, big, sizeof(big), -1);
}

Test(socket, full_transfers_span_many_short_ones)
{
	static char big[8 << 20];
	pthread_t writer;
	void *ret;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(pthread_create(&writer, NULL, write_big, &fds[0]), 0);
	cr_assert_eq(socket_read_full(fds[1], big, sizeof(big), -1), 0);
	pthread_join(writer, &ret);
	cr_assert_null(ret);
	close(fds[0]);
	close(fds[1]);
}
