// SPDX-License-Identifier: Apache-2.0
// The destination's port: who is let in, what is answered, and when it ends.
#include "server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include "door.h"
#include "exit_status.h"
#include "fake_destination.h"
#include "own_run.h"
#include "quota.h"

TestSuite(server, .timeout = 60);

/* A server in a thread of its own; its port is on an address that no other test uses. */
struct fixture {
	struct fake_destination *d;
	struct server_options options;
	struct report report;
	struct peer peer;
	pthread_t thread;
	int result, events; /* what it reports, a line each */
	struct errtext err;
	FILE *told;
};

static void *server_main(void *arg)
{
	struct fixture *f = arg;

	f->result = server_run(&f->options, &f->err);
	return NULL;
}

static void init(struct fixture *f)
{
	unsigned int pid = (unsigned int)getpid();

	own_run();
	*f = (struct fixture){.d = fake_destination_new()};
	report_init(&f->report, true);
	f->options = (struct server_options){.libvirt_socket = f->d->socket,
					     .port = 7470,
					     .max_inbound = 2,
					     .report = &f->report,
					     .stop_fd = eventfd(0, EFD_CLOEXEC),
					     .world = &fake_world};
	snprintf(f->options.socket.bind, sizeof(f->options.socket.bind), "127.%u.%u.%u",
		 1 + (pid >> 16 & 63), pid >> 8 & 255, pid & 255);
	f->peer = (struct peer){.port = 7470, .timeout_ms = 5000};
	strcpy(f->peer.host, f->options.socket.bind);
	memcpy(f->peer.session, f->d->session, WIRE_SESSION_SIZE);
}

/* It reports on standard output. */
static void start(struct fixture *f)
{
	char line[512];
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_geq(dup2(ends[1], STDOUT_FILENO), 0);
	close(ends[1]);
	f->told = fdopen(ends[0], "r");
	cr_assert_eq(pthread_create(&f->thread, NULL, server_main, f), 0);
	cr_assert_not_null(fgets(line, sizeof(line), f->told));
	cr_assert(strstr(line, "\"listening\""), "%s", line);
}

static int ended(struct fixture *f)
{
	pthread_join(f->thread, NULL);
	return f->result;
}

static void done(struct fixture *f)
{
	close(f->options.stop_fd);
	fake_destination_destroy(f->d);
}

static int stopped(struct fixture *f)
{
	eventfd_write(f->options.stop_fd, 1);
	return ended(f);
}

static int connect_as(struct fixture *f, enum wire_kind kind)
{
	struct errtext err = {0};
	struct line line;

	cr_assert_eq(door_dial(&f->peer, kind, 0, &line, NULL, &err), 0, "%s", err.text);
	return line.fd;
}

static void expect_closed(int fd)
{
	char byte;

	cr_expect_eq(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

/* ---- it begins, and ends ---- */

Test(server, is_stopped)
{
	struct fixture f;

	init(&f);
	start(&f);
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

Test(server, needs_libvirt)
{
	struct fixture f;

	init(&f);
	fake_libvirt_fail(f.d->libvirt, FAKE_OPEN, 1, -EIO);
	cr_assert_eq(server_run(&f.options, &f.err), -EIO);
	cr_assert_str_not_empty(f.err.text);
	fake_libvirt_fail(f.d->libvirt, FAKE_HOST_UUID, 1, -EIO);
	cr_assert_eq(server_run(&f.options, &f.err), -EIO);
	done(&f);
}

/* ---- libvirt is slow ---- */

static sem_t libvirt_answers;

static void hang(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	(void)opaque;
	(void)l;
	if (call == FAKE_HOST_UUID)
		sem_wait(&libvirt_answers);
}

/* One that is started again while libvirt's daemon ends a QEMU: guests may wait for it. */
Test(server, listens_although_libvirt_hangs)
{
	struct fixture f;
	int fd;

	init(&f);
	start(&f);
	cr_assert_eq(stopped(&f), 0);
	cr_assert_eq(sem_init(&libvirt_answers, 0, 0), 0);
	f.d->libvirt->before = hang;
	eventfd_read(f.options.stop_fd, &(eventfd_t){0});
	start(&f);
	memcpy(f.peer.who.uuid, f.d->libvirt->uuid, sizeof(f.peer.who.uuid));
	fd = connect_as(&f, WIRE_KIND_RAM); /* it is the host that it was */
	close(fd);
	sem_post(&libvirt_answers);
	cr_assert_eq(stopped(&f), 0);
	while (fake_libvirt_open(f.d->libvirt))
		usleep(1000);
	done(&f);
}

/* A receiver waits for a guard to give way, a guard does not wait. */
Test(server, the_port_is_taken)
{
	const struct record waits = {
		.released = true, .post_copy = true, .port = 7470, .qemu_started = 1};
	uint64_t begun;
	struct fixture f;
	int fd;

	init(&f);
	cr_assert_eq(socket_listen(&f.options.socket, 7470, &fd, NULL), 0);
	begun = f.d->now_us;
	cr_assert_eq(server_run(&f.options, &f.err), -EADDRINUSE);
	cr_assert_geq(f.d->now_us - begun, 5000000);
	fake_destination_leave(f.d, &waits);
	f.options.session = "00112233445566778899aabbccddeeff";
	f.err = (struct errtext){0};
	begun = f.d->now_us;
	cr_assert_eq(server_run(&f.options, &f.err), -EADDRINUSE);
	cr_assert_eq(f.d->now_us, begun);
	cr_assert(strstr(f.err.text, "Or domain web, which runs here, still has memory to come"),
		  "%s", f.err.text);
	close(fd);
	done(&f);
}

/* ---- who comes ---- */

Test(server, a_migration_is_served)
{
	enum wire_type type = WIRE_PREPARE;
	struct fixture f;
	char line[2048];
	int fd;

	init(&f);
	f.options.once = true;
	f.d->script = "REF";
	fake_domain_of(f.d, DOMAIN_ABSENT);
	start(&f);
	fd = connect_as(&f, WIRE_KIND_CONTROL);
	fake_prepare(f.d, fd);
	while (type != WIRE_FINISHED) {
		struct wire_message m;

		cr_assert_eq(control_read_one(line_plain(fd), 10000, &m, NULL), 0);
		type = m.type;
		wire_message_destroy(&m);
	}
	cr_assert_eq(ended(&f), EXIT_COMPLETED);
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"result\":\"completed\""), "%s", line);
	cr_assert(strstr(line, "\"guest_on\":\"destination\""), "%s", line);
	close(fd);
	done(&f);
}

/* The first to end is not the last. */
Test(server, once_waits_for_all_that_are_under_way)
{
	const struct wire_message m = {.type = WIRE_RELEASE};
	struct fixture f;
	char line[2048];
	int first, second;

	init(&f);
	f.options.once = true;
	f.d->script = "A";
	fake_domain_of(f.d, DOMAIN_ABSENT);
	start(&f);
	second = connect_as(&f, WIRE_KIND_CONTROL);
	first = connect_as(&f, WIRE_KIND_CONTROL);
	fake_prepare(f.d, first);
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"result\":\"failed\""), "%s", line);
	close(connect_as(&f, WIRE_KIND_RECOVER)); /* hello is answered still */
	fake_send(second, &m);			  /* not a migration after all */
	expect_closed(second);
	cr_assert_eq(ended(&f), EXIT_FAILED);
	close(first);
	done(&f);
}

Test(server, a_migration_that_fails_is_told)
{
	struct fixture f;
	char line[2048];
	int fd;

	init(&f);
	f.options.once = true;
	f.d->script = "A";
	fake_domain_of(f.d, DOMAIN_ABSENT);
	start(&f);
	fd = connect_as(&f, WIRE_KIND_CONTROL);
	fake_prepare(f.d, fd);
	cr_assert_eq(ended(&f), EXIT_FAILED);
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"reason\":\"the source gave up: enough\""), "%s", line);
	cr_assert(strstr(line, "\"guest_on\":\"source\""), "%s", line);
	close(fd);
	done(&f);
}

/* What `dray check --destination` does is no migration: `once` goes on waiting for one. */
Test(server, once_is_not_used_up_by_a_trial)
{
	struct fixture f;
	char line[2048];
	int trial, fd;

	init(&f);
	f.options.once = true;
	f.d->script = "A";
	f.d->trial = true;
	fake_domain_of(f.d, DOMAIN_ABSENT);
	start(&f);
	trial = connect_as(&f, WIRE_KIND_CONTROL);
	fake_prepare(f.d, trial);
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"event\":\"checked\""), "%s", line);
	f.d->trial = false;
	f.peer.session[0] = f.d->session[0] += 1; /* another one */
	fd = connect_as(&f, WIRE_KIND_CONTROL);
	fake_prepare(f.d, fd);
	cr_assert_eq(ended(&f), EXIT_FAILED);
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"result\":\"failed\""), "%s", line);
	close(trial);
	close(fd);
	done(&f);
}

/* A launcher that was removed, with the guest's QEMU: any receiver on its host says so. */
Test(server, answers_for_a_launcher_that_has_vanished)
{
	static const char launcher[] = "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a11";
	struct record r = {.released = true, .post_copy = true, .resumed = true};
	struct wire_message m;
	struct fixture f;
	struct line line;
	int fd;

	init(&f);
	snprintf(r.daemon, sizeof(r.daemon), "%s", launcher);
	snprintf(r.host_uuid, sizeof(r.host_uuid), "%s", launcher);
	cr_assert_eq(uuid_parse(launcher, f.peer.who.uuid), 0);
	fake_destination_leave(f.d, &r);
	start(&f);
	cr_assert_eq(door_dial(&f.peer, WIRE_KIND_LINK, 1, &line, NULL, NULL), -EXDEV, "it lives");
	r.qemu_started = 1; /* another process */
	fake_destination_leave(f.d, &r);
	fd = connect_as(&f, WIRE_KIND_LINK);
	cr_assert_eq(control_read_one(line_plain(fd), 10000, &m, NULL), 0);
	cr_assert_eq(m.type, WIRE_ABORT);
	cr_assert(strstr(m.abort.text, "has ended on the destination"), "%s", m.abort.text);
	wire_message_destroy(&m);
	close(fd);
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

/* Who does not say PREPARE has begun no migration: the receiver goes on. */
Test(server, a_control_connection_says_prepare_first)
{
	const struct wire_message m = {.type = WIRE_RELEASE};
	struct fixture f;
	int fd;

	init(&f);
	f.options.once = true;
	start(&f);
	fd = connect_as(&f, WIRE_KIND_CONTROL);
	fake_send(fd, &m);
	expect_closed(fd);
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

Test(server, other_connections_need_a_session)
{
	static const enum wire_kind kinds[] = {WIRE_KIND_RAM, WIRE_KIND_TUNNEL,
					       WIRE_KIND_QEMU_STREAM, WIRE_KIND_FAULT,
					       WIRE_KIND_PUSH};
	struct fixture f;

	init(&f);
	start(&f);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		expect_closed(connect_as(&f, kinds[i]));
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

Test(server, a_query_is_answered)
{
	struct wire_message m = {.type = WIRE_QUERY};
	struct fixture f;
	int fd;

	init(&f);
	fake_libvirt_add(f.d->libvirt, "web", FAKE_UUID, DOMAIN_RUNNING);
	cr_assert_eq(uuid_parse(FAKE_UUID, m.query.uuid), 0);
	memcpy(m.query.host_uuid, f.d->libvirt->uuid, sizeof(m.query.host_uuid));
	start(&f);
	fd = connect_as(&f, WIRE_KIND_RECOVER);
	fake_send(fd, &m);
	cr_assert_eq(control_read_one(line_plain(fd), 5000, &m, NULL), 0);
	cr_assert_eq(m.type, WIRE_STATE);
	cr_assert_eq(m.state.state, WIRE_STATE_UNKNOWN);
	cr_assert(strstr(m.state.text, "no record of that migration"), "%s", m.state.text);
	wire_message_destroy(&m);
	expect_closed(fd);
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

/* Without TLS a host is its address. */
Test(server, one_host_has_so_many_migrations)
{
	int fds[QUOTA_SESSIONS];
	struct errtext err = {0};
	struct line line;
	struct fixture f;

	init(&f);
	start(&f);
	for (size_t i = 0; i < QUOTA_SESSIONS; i++)
		fds[i] = connect_as(&f, WIRE_KIND_CONTROL);
	cr_assert_eq(door_dial(&f.peer, WIRE_KIND_CONTROL, 0, &line, NULL, &err), -EPROTO);
	cr_assert(strstr(err.text, "32 migrations under way or waiting here"), "%s", err.text);
	strcpy(f.peer.socket.bind, "127.0.0.99");
	close(connect_as(&f, WIRE_KIND_CONTROL)); /* another host */
	for (size_t i = 0; i < QUOTA_SESSIONS; i++)
		close(fds[i]);
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

/* ---- a guard's server ---- */

static void begin_guard(struct fixture *f, const struct record *record)
{
	static char session[2 * WIRE_SESSION_SIZE + 1];

	init(f);
	record_session(f->d->session, session);
	f->options.session = session;
	f->d->libvirt_said = f->d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_leave(f->d, record);
	fake_domain_of(f->d, DOMAIN_RUNNING);
}

Test(server, a_guard_takes_no_migrations)
{
	const struct record record = {.released = true, .post_copy = true};
	struct fixture f;

	begin_guard(&f, &record);
	start(&f);
	expect_closed(connect_as(&f, WIRE_KIND_CONTROL));
	cr_assert_eq(stopped(&f), 0);
	done(&f);
}

Test(server, a_guard_carries_on)
{
	const struct record record = {.released = true, .post_copy = true, .running = true};
	struct fixture f;
	struct fake_link link;
	char line[2048];

	begin_guard(&f, &record);
	f.d->script = "K";
	start(&f);
	link = (struct fake_link){.fd = connect_as(&f, WIRE_KIND_LINK)};
	cr_assert_eq(pthread_create(&link.thread, NULL, fake_link_main, &link), 0);
	cr_assert_eq(ended(&f), EXIT_COMPLETED);
	pthread_join(link.thread, NULL);
	cr_assert_str_eq(link.said, "COMPLETE");
	cr_assert_not_null(fgets(line, sizeof(line), f.told));
	cr_assert(strstr(line, "\"mode\":\"PostCopy\""), "%s", line);
	done(&f);
}

/* The source was told: nobody will ask again. */
Test(server, a_guard_answers_from_the_record)
{
	const struct record record = {
		.released = true, .post_copy = true, .resumed = true, .complete = true};
	struct fixture f;
	struct fake_link link;

	begin_guard(&f, &record);
	f.d->script = "";
	start(&f);
	link = (struct fake_link){.fd = connect_as(&f, WIRE_KIND_LINK)};
	cr_assert_eq(pthread_create(&link.thread, NULL, fake_link_main, &link), 0);
	cr_assert_eq(ended(&f), EXIT_COMPLETED);
	pthread_join(link.thread, NULL);
	cr_assert_str_eq(link.said, "COMPLETE");
	done(&f);
}
