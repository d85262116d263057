// SPDX-License-Identifier: Apache-2.0
// Which calls of a source's reach this host's libvirt: the daemon is the test.
#include "tunnel_filter.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libvirt_call.h"

TestSuite(tunnel_filter, .timeout = 30);

#define UUID "c9574db9-a7d5-4092-ac4c-3986c4bf2acf"
#define STREAM "/run/dray/" UUID "/qemu/stream.sock"
#define DEFINITION                                                                                 \
	"<domain type='kvm'><name>web</name><uuid>" UUID "</uuid><devices>%s</devices></domain>"

enum {
	OPEN = 1,
	CAPABILITIES = 7,
	DEFINE = 11, /* an ordinary call that no migration makes */
	LOOKUP = 24,
	FEATURE = 60,
	PREPARE = 303,
	FINISH = 306
};

static const struct tunnel_policy policy = {.definition = {.uuid = UUID, .name = "web"},
					    .stream_path = STREAM};

static int judge(struct tunnel_state *s, struct call *c, struct errtext *err)
{
	call_end(c);
	return tunnel_judge(s, &policy, c->bytes, c->len, err);
}

/* What can be wrong with a Prepare or a Finish. */
struct variant {
	const char *uri, *devices, *name, *extra;
	uint32_t flags;
};

static const struct variant right = {.uri = "unix://" STREAM, .devices = "", .flags = 25};

static void migration_call(struct call *c, uint32_t procedure, const struct variant *v)
{
	char xml[4096];

	snprintf(xml, sizeof(xml), DEFINITION, v->devices);
	call_begin(c, CALL_REMOTE, procedure);
	call_uint(c, 3 + !!v->name + !!v->extra);
	call_parameter(c, "migrate_uri", v->uri);
	call_parameter(c, "destination_xml", xml);
	call_parameter(c, "persistent_xml", xml);
	if (v->name)
		call_parameter(c, "destination_name", v->name);
	if (v->extra)
		call_parameter(c, v->extra, "x");
	call_bytes(c, "<qemu-migration/>", strlen("<qemu-migration/>") + 1);
	call_uint(c, v->flags);
	if (procedure == FINISH)
		call_uint(c, 0);
}

static void open_call(struct call *c, const char *uri)
{
	call_begin(c, CALL_REMOTE, OPEN);
	call_uint(c, 1);
	call_bytes(c, uri, strlen(uri));
	call_uint(c, 0);
}

/* ---- what passes ---- */

Test(tunnel_filter, a_migration_passes)
{
	struct tunnel_state s = {0};
	struct errtext err = {0};
	struct call c;

	open_call(&c, "qemu:///system");
	cr_assert_eq(judge(&s, &c, &err), 0, "%s", err.text);
	call_begin(&c, CALL_REMOTE, FEATURE);
	call_uint(&c, 13);
	cr_assert_eq(judge(&s, &c, &err), 0, "%s", err.text);
	migration_call(&c, PREPARE, &right);
	cr_assert_eq(judge(&s, &c, &err), 0, "%s", err.text);
	call_begin(&c, CALL_KEEPALIVE, 1);
	cr_assert_eq(judge(&s, &c, &err), 0, "%s", err.text);
	migration_call(&c, FINISH, &right);
	cr_assert_eq(judge(&s, &c, &err), 0, "%s", err.text);
}

Test(tunnel_filter, of_guests_only_the_migrations_own_can_be_looked_up)
{
	static const uint8_t ours[] = {0xc9, 0x57, 0x4d, 0xb9, 0xa7, 0xd5, 0x40, 0x92,
				       0xac, 0x4c, 0x39, 0x86, 0xc4, 0xbf, 0x2a, 0xcf};
	struct tunnel_state s = {0};
	struct call c;

	for (int wrong = 0; wrong < 2; wrong++) {
		call_begin(&c, CALL_REMOTE, LOOKUP);
		memcpy(c.bytes + c.len, ours, sizeof(ours));
		c.bytes[c.len] ^= (uint8_t)wrong;
		c.len += sizeof(ours);
		cr_assert_eq(judge(&s, &c, NULL), wrong ? -EPERM : 0);
	}
}

/* ---- what does not ---- */

Test(tunnel_filter, no_other_call_passes)
{
	struct tunnel_state s = {0};
	unsigned int passed = 0;
	struct errtext err = {0};
	struct call c;

	for (uint32_t procedure = 0; procedure < 600; procedure++) {
		call_begin(&c, CALL_REMOTE, procedure);
		passed += judge(&s, &c, NULL) == 0;
	}
	cr_assert_eq(passed, 4); /* close, features, capabilities, ways to authenticate */
	call_begin(&c, CALL_REMOTE, DEFINE);
	cr_assert_eq(judge(&s, &c, &err), -EPERM);
	cr_assert(strstr(err.text, "procedure 11"), "%s", err.text);
	call_begin(&c, 0x20008087, FEATURE); /* libvirt's QEMU calls: monitor commands */
	cr_assert_eq(judge(&s, &c, &err), -EPERM);
}

Test(tunnel_filter, no_other_hypervisor_is_opened)
{
	static const char *const uris[] = {"lxc:///", "test:///default", "qemu://host/system", ""};
	struct tunnel_state s = {0};
	struct call c;

	for (size_t i = 0; i < sizeof(uris) / sizeof(*uris); i++) {
		open_call(&c, uris[i]);
		cr_assert_eq(judge(&s, &c, NULL), -EPERM, "%s", uris[i]);
	}
	call_begin(&c, CALL_REMOTE, OPEN);
	call_uint(&c, 0);
	call_uint(&c, 0);
	cr_assert_eq(judge(&s, &c, NULL), -EPERM);
}

static const struct variant wrong[] = {
	{.uri = "tcp://0.0.0.0:49152", .devices = "", .flags = 25},
	{.uri = "unix:///srv/other", .devices = "", .flags = 25},
	{.uri = "unix://" STREAM, .devices = "<hostdev/>", .flags = 25},
	{.uri = "unix://" STREAM, .devices = "", .name = "other", .flags = 25},
	{.uri = "unix://" STREAM, .devices = "", .extra = "listen_address", .flags = 25},
	{.uri = "unix://" STREAM, .devices = "", .extra = "migrate_uri", .flags = 25},
	{.uri = "unix://" STREAM, .devices = "", .flags = 64}, /* copy the disks as well */
};

Test(tunnel_filter, a_prepare_that_differs_is_refused)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct tunnel_state s = {0};
		struct errtext err = {0};
		struct call c;

		migration_call(&c, PREPARE, &wrong[i]);
		cr_assert_lt(judge(&s, &c, &err), 0, "%zu", i);
		cr_assert(err.text[0]);
		cr_assert_not(s.prepared);
	}
}

Test(tunnel_filter, calls_have_their_order_and_come_once)
{
	struct tunnel_state s = {0};
	struct call c;

	migration_call(&c, FINISH, &right);
	cr_assert_eq(judge(&s, &c, NULL), -EPROTO);
	migration_call(&c, PREPARE, &right);
	cr_assert_eq(judge(&s, &c, NULL), 0);
	migration_call(&c, PREPARE, &right);
	cr_assert_eq(judge(&s, &c, NULL), -EPROTO);
	migration_call(&c, FINISH, &right);
	cr_assert_eq(judge(&s, &c, NULL), 0);
	migration_call(&c, FINISH, &right);
	cr_assert_eq(judge(&s, &c, NULL), -EPROTO);
}

Test(tunnel_filter, a_damaged_call_is_refused)
{
	struct call whole, c;

	migration_call(&whole, PREPARE, &right);
	for (size_t len = 28; len < whole.len; len += 4) {
		struct tunnel_state s = {0};

		c = whole;
		c.len = len;
		cr_assert_lt(judge(&s, &c, NULL), 0, "%zu of %zu bytes", len, whole.len);
	}
}

/* ---- the connection ---- */

struct fixture {
	int client, daemon; /* the test's ends */
	struct tunnel_filter *filter;
	int refused[2]; /* a pipe: its text is written there */
};

static void on_refused(void *opaque, const char *text)
{
	struct fixture *f = opaque;

	cr_assert_eq(write(f->refused[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void begin(struct fixture *f)
{
	struct tunnel_filter_options o = {.policy = policy};
	int client[2], daemon[2];

	*f = (struct fixture){0};
	o.refused = on_refused;
	o.opaque = f;
	cr_assert_eq(pipe(f->refused), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, client), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, daemon), 0);
	f->client = client[0];
	f->daemon = daemon[0];
	cr_assert_eq(tunnel_filter_start(client[1], daemon[1], &o, &f->filter, NULL), 0);
}

static void end(struct fixture *f)
{
	tunnel_filter_destroy(f->filter);
	close(f->client);
	close(f->daemon);
}

static void send_call(struct fixture *f, struct call *c)
{
	call_end(c);
	cr_assert_eq(write(f->client, c->bytes, c->len), (ssize_t)c->len);
}

static void expect(int fd, const struct call *c)
{
	static uint8_t got[1 << 16];

	cr_assert_eq(recv(fd, got, c->len, MSG_WAITALL), (ssize_t)c->len);
	cr_assert_eq(memcmp(got, c->bytes, c->len), 0);
}

Test(tunnel_filter, calls_arrive_whole_and_answers_come_back)
{
	struct fixture f;
	struct call c;

	begin(&f);
	open_call(&c, "qemu:///system");
	send_call(&f, &c);
	expect(f.daemon, &c);
	migration_call(&c, PREPARE, &right);
	send_call(&f, &c);
	expect(f.daemon, &c);
	cr_assert_eq(write(f.daemon, c.bytes, 100), 100);
	c.len = 100;
	expect(f.client, &c);
	end(&f);
}

Test(tunnel_filter, after_a_refusal_nothing_passes)
{
	struct fixture f;
	struct call c;
	char text[512];
	ssize_t n;

	begin(&f);
	call_begin(&c, CALL_REMOTE, DEFINE);
	send_call(&f, &c);
	n = read(f.refused[0], text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	cr_assert(strstr(text, "procedure 11"), "%s", text);
	cr_assert_eq(read(f.daemon, text, 1), 0, "the daemon sees its client go");
	close(f.daemon);
	f.daemon = dup(f.refused[0]);
	cr_assert_eq(read(f.client, text, 1), 0, "and the source loses its connection");
	end(&f);
}

Test(tunnel_filter, nothing_passes_a_cut)
{
	struct fixture f;
	char byte;

	begin(&f);
	cr_assert_not(tunnel_filter_has_lost_daemon(f.filter));
	tunnel_filter_cut(f.filter);
	cr_assert_eq(read(f.daemon, &byte, 1), 0);
	cr_assert_eq(read(f.client, &byte, 1), 0);
	end(&f);
}
