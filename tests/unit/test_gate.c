// SPDX-License-Identifier: Apache-2.0
// The gate between a client and a daemon that are both the test: what passes, when, in which order.
//
// That something is held is seen without waiting: the gate says so, and a later call has arrived.
#include "gate.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "libvirt_message.h"

#define OTHER 11
#define PATIENCE_MS 10000

TestSuite(gate, .timeout = 30);

struct fixture {
	char dir[32], gate_path[64], daemon_path[64];
	int listener, client, daemon;
	struct gate *gate;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	unsigned int performs, confirms; /* held, as told */
	bool cancelled;			 /* the last Confirm of these */
};

static void count_up(struct fixture *f, unsigned int *what)
{
	pthread_mutex_lock(&f->lock);
	++*what;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void on_perform(void *opaque)
{
	struct fixture *f = opaque;

	count_up(f, &f->performs);
}

static void on_confirm(void *opaque, bool cancelled)
{
	struct fixture *f = opaque;

	pthread_mutex_lock(&f->lock);
	f->cancelled = cancelled;
	pthread_mutex_unlock(&f->lock);
	count_up(f, &f->confirms);
}

static void await_one(struct fixture *f, const unsigned int *what)
{
	pthread_mutex_lock(&f->lock);
	while (*what == 0)
		pthread_cond_wait(&f->changed, &f->lock);
	cr_assert_eq(*what, 1);
	pthread_mutex_unlock(&f->lock);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

static void listen_as_daemon(struct fixture *f)
{
	struct sockaddr_un addr = address(f->daemon_path);

	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(f->listener, 1), 0);
}

static void connect_client(struct fixture *f)
{
	struct sockaddr_un addr = address(f->gate_path);

	f->client = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(connect(f->client, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void setup_alone(struct fixture *f)
{
	struct gate_options opt = {.listen_path = f->gate_path,
				   .libvirt_path = f->daemon_path,
				   .perform_held = on_perform,
				   .confirm_held = on_confirm,
				   .opaque = f};
	struct errtext err = {0};

	*f = (struct fixture){
		.dir = "/tmp/dray-gate-XXXXXX", .listener = -1, .client = -1, .daemon = -1};
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	cr_assert_not_null(mkdtemp(f->dir));
	snprintf(f->gate_path, sizeof(f->gate_path), "%s/gate", f->dir);
	snprintf(f->daemon_path, sizeof(f->daemon_path), "%s/daemon", f->dir);
	cr_assert_eq(gate_new(&opt, &f->gate, &err), 0, "%s", err.text);
}

static void setup(struct fixture *f)
{
	setup_alone(f);
	listen_as_daemon(f);
	connect_client(f);
	f->daemon = accept(f->listener, NULL, NULL);
	cr_assert_geq(f->daemon, 0);
}

static void teardown(struct fixture *f)
{
	gate_destroy(f->gate);
	cr_assert_lt(access(f->gate_path, F_OK), 0, "removed by gate_destroy");
	close(f->listener);
	close(f->client);
	close(f->daemon);
	unlink(f->daemon_path);
	rmdir(f->dir);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

static void write_all(int fd, const void *bytes, size_t len)
{
	cr_assert_eq(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void call(struct fixture *f, uint32_t procedure, uint32_t serial, uint32_t last)
{
	struct libvirt_message m = libvirt_call(procedure, serial, 40, last);

	write_all(f->client, m.bytes, m.len);
}

/* The next message at the daemon is exactly this one. */
static void expect(struct fixture *f, uint32_t procedure, uint32_t serial, uint32_t last)
{
	struct libvirt_message m = libvirt_call(procedure, serial, 40, last);
	uint8_t got[LIBVIRT_MESSAGE_MAX];

	cr_assert_eq(recv(f->daemon, got, m.len, MSG_WAITALL), (ssize_t)m.len);
	cr_assert_arr_eq(got, m.bytes, m.len, "procedure %u, serial %u", procedure, serial);
}

static void expect_closed(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	cr_assert_eq(poll(&p, 1, PATIENCE_MS), 1);
	cr_assert_leq(recv(fd, &byte, 1, 0), 0);
}

/* Whatever was called before has been dealt with once this has arrived. */
static void expect_nothing_before(struct fixture *f, uint32_t serial)
{
	call(f, OTHER, serial, 0);
	expect(f, OTHER, serial, 0);
}

/* ---- passing ---- */

Test(gate, all_else_passes_in_order)
{
	struct fixture f;

	setup(&f);
	for (uint32_t i = 0; i < 100; i++)
		call(&f, OTHER + i, i, i);
	for (uint32_t i = 0; i < 100; i++)
		expect(&f, OTHER + i, i, i);
	teardown(&f);
}

Test(gate, bytes_from_the_daemon_pass_untouched)
{
	struct fixture f;
	char got[64] = "";

	setup(&f);
	write_all(f.daemon, "no RPC at all", 13);
	cr_assert_eq(recv(f.client, got, 13, MSG_WAITALL), 13);
	cr_assert_str_eq(got, "no RPC at all");
	teardown(&f);
}

Test(gate, messages_may_come_in_pieces_or_together)
{
	struct libvirt_message m = libvirt_call(OTHER, 1, 40, 0);
	uint8_t together[3 * LIBVIRT_MESSAGE_MAX];
	struct fixture f;

	setup(&f);
	for (size_t i = 0; i < m.len; i++)
		write_all(f.client, m.bytes + i, 1);
	expect(&f, OTHER, 1, 0);
	for (int i = 0; i < 3; i++)
		memcpy(together + i * m.len, m.bytes, m.len);
	write_all(f.client, together, 2 * m.len + 5);
	expect(&f, OTHER, 1, 0);
	expect(&f, OTHER, 1, 0);
	write_all(f.client, together + 2 * m.len + 5, m.len - 5);
	expect(&f, OTHER, 1, 0);
	teardown(&f);
}

Test(gate, its_socket_is_for_its_owner_only)
{
	struct fixture f;
	struct stat st;

	setup_alone(&f);
	cr_assert_eq(stat(f.gate_path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	teardown(&f);
}

/* ---- Perform ---- */

Test(gate, perform_waits_and_others_overtake_it)
{
	struct fixture f;

	setup(&f);
	call(&f, LIBVIRT_PERFORM3_PARAMS, 1, 0);
	await_one(&f, &f.performs);
	expect_nothing_before(&f, 2);
	gate_open(f.gate);
	expect(&f, LIBVIRT_PERFORM3_PARAMS, 1, 0);
	expect_nothing_before(&f, 3);
	gate_open(f.gate);
	expect_nothing_before(&f, 4);
	teardown(&f);
}

Test(gate, perform_passes_an_open_gate)
{
	struct fixture f;

	setup(&f);
	gate_open(f.gate);
	call(&f, LIBVIRT_PERFORM3, 1, 0);
	expect(&f, LIBVIRT_PERFORM3, 1, 0);
	cr_assert_eq(f.performs, 0);
	teardown(&f);
}

Test(gate, may_be_opened_before_anybody_connects)
{
	struct fixture f;

	setup_alone(&f);
	gate_open(f.gate);
	listen_as_daemon(&f);
	connect_client(&f);
	f.daemon = accept(f.listener, NULL, NULL);
	call(&f, LIBVIRT_PERFORM3_PARAMS, 1, 0);
	expect(&f, LIBVIRT_PERFORM3_PARAMS, 1, 0);
	teardown(&f);
}

/* ---- Confirm ---- */

Test(gate, confirm_passes_while_not_forbidden)
{
	struct fixture f;

	setup(&f);
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	cr_assert_eq(f.confirms, 0);
	cr_assert_not(gate_forbid(f.gate, false), "one has passed already");
	teardown(&f);
}

Test(gate, cancelled_confirm_waits_once_forbidden)
{
	struct fixture f;

	setup(&f);
	cr_assert(gate_forbid(f.gate, false));
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	await_one(&f, &f.confirms);
	cr_assert(f.cancelled);
	expect_nothing_before(&f, 2);
	gate_permit(f.gate);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	cr_assert_not(gate_forbid(f.gate, false));
	teardown(&f);
}

Test(gate, confirm_of_success_always_passes)
{
	struct fixture f;

	setup(&f);
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 0);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 0);
	cr_assert(gate_forbid(f.gate, false));
	call(&f, LIBVIRT_CONFIRM3, 2, 0);
	expect(&f, LIBVIRT_CONFIRM3, 2, 0);
	cr_assert(gate_forbid(f.gate, false), "nothing was cancelled");
	teardown(&f);
}

Test(gate, permit_before_it_comes)
{
	struct fixture f;

	setup(&f);
	cr_assert(gate_forbid(f.gate, false));
	gate_permit(f.gate);
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	teardown(&f);
}

Test(gate, a_second_cancelled_confirm_does_not_slip_past_the_first)
{
	struct fixture f;

	setup(&f);
	cr_assert(gate_forbid(f.gate, false));
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 2, 1);
	expect_nothing_before(&f, 3);
	gate_permit(f.gate);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 1);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 2, 1);
	teardown(&f);
}

Test(gate, every_confirm_waits_if_all_are_to)
{
	struct fixture f;

	setup(&f);
	cr_assert(gate_forbid(f.gate, true));
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 0);
	await_one(&f, &f.confirms);
	cr_assert_not(f.cancelled);
	expect_nothing_before(&f, 2);
	call(&f, LIBVIRT_CONFIRM3_PARAMS, 3, 1);
	expect_nothing_before(&f, 4);
	cr_assert_eq(f.confirms, 2);
	cr_assert(f.cancelled);
	gate_permit(f.gate);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 1, 0);
	expect(&f, LIBVIRT_CONFIRM3_PARAMS, 3, 1);
	teardown(&f);
}

/* ---- the connection, shared ---- */

Test(gate, what_is_shared_is_the_connection_itself)
{
	struct libvirt_message m = libvirt_call(OTHER, 2, 40, 0);
	struct fixture f;
	int fd = -1;

	setup(&f);
	expect_nothing_before(&f, 1);
	cr_assert_eq(gate_share(f.gate, &fd), 0);
	write_all(fd, m.bytes, m.len);
	expect(&f, OTHER, 2, 0);
	close(fd);
	expect_nothing_before(&f, 3);
	teardown(&f);
}

Test(gate, what_is_cut_or_not_there_is_not_shared)
{
	struct fixture f;
	int fd = -1;

	setup_alone(&f);
	cr_assert_eq(gate_share(f.gate, &fd), -ENOTCONN);
	teardown(&f);
	setup(&f);
	gate_cut(f.gate);
	cr_assert_eq(gate_share(f.gate, &fd), -ENOTCONN);
	cr_assert_eq(fd, -1);
	teardown(&f);
}

/* ---- the end ---- */

Test(gate, cut_ends_both_sides_with_a_call_held)
{
	struct fixture f;

	setup(&f);
	call(&f, LIBVIRT_PERFORM3_PARAMS, 1, 0);
	await_one(&f, &f.performs);
	gate_cut(f.gate);
	expect_closed(f.client);
	expect_closed(f.daemon);
	gate_open(f.gate);
	cr_assert_not(gate_forbid(f.gate, false), "the daemon has seen its client go");
	teardown(&f);
}

Test(gate, cut_before_anybody_connects)
{
	struct fixture f;

	setup_alone(&f);
	gate_cut(f.gate);
	teardown(&f);
}

Test(gate, a_cut_wakes_a_write_that_the_daemon_does_not_take)
{
	static uint8_t large[4u << 20];
	struct libvirt_message m = libvirt_call(OTHER, 1, 0, 0);
	uint32_t len = htobe32(sizeof(large));
	struct fixture f;
	int sent = 0;

	setup(&f);
	memcpy(large, m.bytes, m.len);
	memcpy(large, &len, sizeof(len));
	/* Room for all but what the gate cannot get rid of. */
	for (size_t done = 0; done < sizeof(large); done += (size_t)sent) {
		sent = (int)send(f.client, large + done, sizeof(large) - done, MSG_NOSIGNAL);
		cr_assert_gt(sent, 0);
	}
	cr_assert_eq(recv(f.daemon, large, 1, 0), 1, "the write has begun");
	gate_cut(f.gate);
	expect_closed(f.client);
	teardown(&f);
}

Test(gate, no_daemon_means_no_connection)
{
	struct fixture f;

	setup_alone(&f);
	connect_client(&f);
	expect_closed(f.client);
	teardown(&f);
}

Test(gate, one_end_that_goes_takes_the_other_with_it)
{
	struct fixture f;

	setup(&f);
	shutdown(f.daemon, SHUT_RDWR);
	expect_closed(f.client);
	teardown(&f);
	setup(&f);
	shutdown(f.client, SHUT_RDWR);
	expect_closed(f.daemon);
	teardown(&f);
}

Test(gate, an_impossible_length_ends_it)
{
	static const uint32_t lengths[] = {0, LIBVIRT_RPC_HEADER_SIZE - 1,
					   LIBVIRT_RPC_MESSAGE_MAX + 1, UINT32_MAX};

	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint32_t word = htobe32(lengths[i]);
		struct fixture f;

		setup(&f);
		write_all(f.client, &word, sizeof(word));
		expect_closed(f.client);
		expect_closed(f.daemon);
		teardown(&f);
	}
}

Test(gate, a_path_that_is_too_long_is_refused)
{
	char path[200];
	struct gate_options opt = {.listen_path = path, .libvirt_path = "/nowhere"};
	struct errtext err = {0};
	struct gate *gate;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(gate_new(&opt, &gate, &err), -ENAMETOOLONG);
	cr_assert(strstr(err.text, "too long"), "%s", err.text);
}
