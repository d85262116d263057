// SPDX-License-Identifier: Apache-2.0
// The mailbox: nothing lost, order kept, deadlines met.
#include "mailbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "control.h"
#include "socket.h"

#define POSTERS 4
#define EACH 500
#define PATIENCE_US 10000000

TestSuite(mailbox, .timeout = 20);

static struct mailbox *make(void)
{
	struct mailbox *m;

	cr_assert_eq(mailbox_new(&m), 0);
	return m;
}

static uint64_t later(void)
{
	return clock_monotonic_us() + PATIENCE_US;
}

Test(mailbox, keeps_the_order_and_all_fields)
{
	struct mail in = {.kind = MAIL_ROUND_DONE,
			  .result = -EIO,
			  .a = 1,
			  .b = 2,
			  .event = QEMU_EVENT_STOP,
			  .text = "text"},
		    out;
	struct mailbox *m = make();

	mailbox_post(m, &in);
	mailbox_note(m, MAIL_CANCEL, -ECANCELED, "stop");
	mailbox_note(m, MAIL_PERFORM_HELD, 0, NULL);
	mailbox_take(m, later(), &out);
	cr_assert_eq(out.kind, MAIL_ROUND_DONE);
	cr_assert_eq(out.result, -EIO);
	cr_assert_eq(out.a, 1);
	cr_assert_eq(out.b, 2);
	cr_assert_str_eq(out.text, "text");
	cr_assert_eq(out.event, QEMU_EVENT_STOP);
	mailbox_take(m, later(), &out);
	cr_assert_eq(out.kind, MAIL_CANCEL);
	cr_assert_eq(out.result, -ECANCELED);
	cr_assert_str_eq(out.text, "stop");
	mailbox_take(m, later(), &out);
	cr_assert_eq(out.kind, MAIL_PERFORM_HELD);
	cr_assert_str_eq(out.text, "");
	mailbox_take(m, 0, &out);
	cr_assert_eq(out.kind, MAIL_NONE);
	cr_assert_str_eq(out.text, "");
	mailbox_destroy(m);
}

Test(mailbox, a_long_text_is_cut)
{
	char text[2 * WIRE_TEXT_MAX];
	struct mailbox *m = make();
	struct mail out;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	mailbox_note(m, MAIL_JOB_DONE, 0, text);
	mailbox_take(m, later(), &out);
	cr_assert_eq(strlen(out.text), WIRE_TEXT_MAX);
	mailbox_destroy(m);
}

Test(mailbox, a_deadline_ends_the_wait)
{
	uint64_t until = clock_monotonic_us() + 20000;
	struct mailbox *m = make();
	struct mail out;

	mailbox_take(m, until, &out);
	cr_assert_eq(out.kind, MAIL_NONE);
	cr_assert_geq(clock_monotonic_us(), until);
	mailbox_take(m, 0, &out);
	cr_assert_eq(out.kind, MAIL_NONE);
	mailbox_destroy(m);
}

Test(mailbox, mail_that_is_there_is_taken_even_past_the_deadline)
{
	struct mailbox *m = make();
	struct mail out;

	mailbox_note(m, MAIL_CANCEL, 0, NULL);
	mailbox_take(m, 0, &out);
	cr_assert_eq(out.kind, MAIL_CANCEL);
	mailbox_destroy(m);
}

struct poster {
	struct mailbox *mailbox;
	unsigned int index;
	pthread_t thread;
};

/* Whoever finds no room waits: nothing is lost. */
static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (uint32_t i = 0; i < EACH; i++) {
		struct wire_message m = {.type = WIRE_SYNCED, .synced = {(uint16_t)p->index, i}};

		cr_assert(mailbox_message(p->mailbox, &m, later()));
	}
	return NULL;
}

Test(mailbox, many_may_post_at_once)
{
	struct poster posters[POSTERS];
	uint32_t next[POSTERS] = {0};
	struct mailbox *m = make();
	struct mail out;

	for (unsigned int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){m, i, 0};
		cr_assert_eq(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
	}
	for (unsigned int i = 0; i < POSTERS * EACH; i++) {
		mailbox_take(m, later(), &out);
		cr_assert_eq(out.kind, MAIL_MESSAGE);
		cr_assert_eq(out.message.synced.round, next[out.message.synced.stream]++,
			     "each poster's order is kept");
	}
	for (unsigned int i = 0; i < POSTERS; i++)
		pthread_join(posters[i].thread, NULL);
	mailbox_destroy(m);
}

/* ---- its bounds ---- */

static bool post_synced(struct mailbox *m, uint32_t round)
{
	struct wire_message message = {.type = WIRE_SYNCED, .synced = {.round = round}};

	return mailbox_message(m, &message, 0);
}

static void expect_synced(struct mailbox *m, uint32_t round)
{
	struct mail out;

	mailbox_take(m, 0, &out);
	cr_assert_eq(out.kind, MAIL_MESSAGE);
	cr_assert_eq(out.message.synced.round, round);
}

static void expect_note(struct mailbox *m, enum mail_kind kind, const char *text)
{
	struct mail out;

	mailbox_take(m, 0, &out);
	cr_assert_eq(out.kind, kind);
	cr_assert_str_eq(out.text, text);
}

static void fill(struct mailbox *m)
{
	for (uint32_t i = 0; i < MAILBOX_MESSAGES; i++)
		cr_assert(post_synced(m, i), "%u", i);
}

Test(mailbox, a_full_one_refuses_messages_until_one_is_taken)
{
	struct wire_message text = {.type = WIRE_ABORT, .abort = {"still the caller's"}};
	uint64_t until = clock_monotonic_us() + 20000;
	struct mailbox *m = make();

	fill(m);
	cr_assert_not(mailbox_message(m, &text, until));
	cr_assert_geq(clock_monotonic_us(), until, "it waits for room");
	cr_assert_str_eq(text.abort.text, "still the caller's");
	cr_assert(atomic_load(mailbox_urgent(m)), "whoever takes nothing may look at this");
	expect_synced(m, 0);
	cr_assert(post_synced(m, MAILBOX_MESSAGES));
	cr_assert_not(post_synced(m, 0));
	for (uint32_t i = 1; i <= MAILBOX_MESSAGES; i++)
		expect_synced(m, i);
	expect_note(m, MAIL_NONE, "");
	mailbox_destroy(m);
}

/* Nor does a message wait for notes. The order is that of posting. */
Test(mailbox, notes_do_not_wait_for_messages)
{
	struct mailbox *m = make();

	fill(m);
	mailbox_qemu_event(m, QEMU_EVENT_STOP, 1);
	mailbox_note(m, MAIL_JOB_DONE, 0, "done");
	mailbox_note(m, MAIL_CANCEL, 0, "enough");
	for (uint32_t i = 0; i < MAILBOX_MESSAGES; i++)
		expect_synced(m, i);
	expect_note(m, MAIL_QEMU_EVENT, "");
	expect_note(m, MAIL_JOB_DONE, "done");
	expect_note(m, MAIL_CANCEL, "enough");
	mailbox_destroy(m);
}

/* One of each kind between two floods of one kind: the flood keeps its first and its last, and the
 * others are all there, in their order. */
Test(mailbox, a_kind_that_repeats_costs_no_other_its_room)
{
	struct mailbox *m = make();
	unsigned int first = 0, last = 0, events = 0, links = 0, kinds = 0, rest;
	uint64_t a = 0;
	struct mail out;

	for (uint64_t i = 1; i <= EACH; i++)
		mailbox_post(m, &(struct mail){.kind = MAIL_SET, .a = i});
	for (enum mail_kind kind = MAIL_CONTROL_LOST; kind < MAIL_SET; kind++)
		if (kind != MAIL_QEMU_EVENT && kind != MAIL_LINK)
			mailbox_note(m, kind, 0, NULL);
	for (enum qemu_event event = 0; event < QEMU_EVENT_END_; event++)
		mailbox_qemu_event(m, event, event);
	for (int state = 0; state < 4; state++)
		mailbox_note(m, MAIL_LINK, state, NULL);
	for (uint64_t i = EACH + 1; i <= 2 * EACH; i++)
		mailbox_post(m, &(struct mail){.kind = MAIL_SET, .a = i});

	for (mailbox_take(m, 0, &out); out.kind != MAIL_NONE; mailbox_take(m, 0, &out)) {
		first += out.kind == MAIL_SET && out.a == 1;
		last += out.kind == MAIL_SET && out.a == 2 * EACH;
		if (out.kind == MAIL_SET) {
			cr_assert_gt(out.a, a, "the order is kept");
			a = out.a;
		} else if (out.kind == MAIL_QEMU_EVENT) {
			cr_assert_eq(out.event, events++);
		} else if (out.kind == MAIL_LINK) {
			cr_assert_eq(out.result, links++);
		} else {
			kinds++;
		}
	}
	cr_assert_eq(first, 1);
	cr_assert_eq(last, 1);
	cr_assert_eq(events, QEMU_EVENT_END_);
	cr_assert_eq(links, 4);
	rest = MAIL_SET - MAIL_CONTROL_LOST - 2;
	cr_assert_eq(kinds, rest, "%u of %u", kinds, rest);
	mailbox_destroy(m);
}

/* A text is lent until the next mail is taken, however full the mailbox gets meanwhile. */
Test(mailbox, a_lent_text_stays)
{
	struct mailbox *m = make();
	struct mail out;

	mailbox_note(m, MAIL_JOB_DONE, 0, "lent");
	mailbox_take(m, 0, &out);
	for (int i = 0; i < EACH; i++)
		mailbox_note(m, MAIL_SET, 0, "other");
	cr_assert_str_eq(out.text, "lent");
	mailbox_destroy(m);
}

#define FLOOD 65536 /* messages */
#define GROWTH_KIB 8192

/* A control channel that fills a mailbox. */
struct flood {
	struct mailbox *mailbox;
	int fd; /* the peer's end */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	unsigned int refused;
};

static bool into_mailbox(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct flood *f = opaque;
	bool taken = mailbox_message(f->mailbox, m, deadline_us);

	pthread_mutex_lock(&f->lock);
	f->refused += !taken;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return taken;
}

static void lost_into_mailbox(void *opaque, int result, const char *text)
{
	struct flood *f = opaque;

	mailbox_note(f->mailbox, MAIL_CONTROL_LOST, result, text);
}

static void *send_flood(void *arg)
{
	struct flood *f = arg;
	uint8_t buf[64];

	for (uint32_t i = 0; i < FLOOD; i++) {
		const struct wire_message m = {.type = WIRE_QUEUED, .queued = {i}};
		long len = wire_message_encode(&m, buf, sizeof(buf));

		cr_assert_eq(socket_write_full(f->fd, buf, (size_t)len, PATIENCE_US / 1000), 0);
	}
	shutdown(f->fd, SHUT_WR);
	return NULL;
}

static long peak_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

/* Nobody takes anything until the reader has been refused twice. Then all is there, in order. */
Test(mailbox, a_peer_that_floods_fills_no_memory)
{
	struct flood f = {.mailbox = make()};
	struct control_options options = {.silence_ms = 800,
					  .message = into_mailbox,
					  .lost = lost_into_mailbox,
					  .opaque = &f};
	struct errtext err = {0};
	struct control *control;
	pthread_t sender;
	struct mail out;
	int fds[2];
	long before;

	pthread_mutex_init(&f.lock, NULL);
	pthread_cond_init(&f.changed, NULL);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	options.line = line_plain(fds[0]);
	f.fd = fds[1];
	before = peak_kib();
	cr_assert_eq(control_new(&options, &control, &err), 0, "%s", err.text);
	cr_assert_eq(pthread_create(&sender, NULL, send_flood, &f), 0);
	pthread_mutex_lock(&f.lock);
	while (f.refused < 2)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);

	for (uint32_t i = 0; i < FLOOD; i++) {
		mailbox_take(f.mailbox, later(), &out);
		cr_assert_eq(out.kind, MAIL_MESSAGE);
		cr_assert_eq(out.message.queued.ahead, i);
	}
	mailbox_take(f.mailbox, later(), &out);
	cr_assert_eq(out.kind, MAIL_CONTROL_LOST);
	cr_assert_eq(out.result, -ENODATA, "%s", out.text);
	cr_assert_lt(peak_kib() - before, GROWTH_KIB);
	pthread_join(sender, NULL);
	control_destroy(control);
	close(f.fd);
	mailbox_destroy(f.mailbox);
}

/* What nobody took out is released, a PREPARE's RAM map too (seen by a sanitizer). */
Test(mailbox, destroy_releases_what_is_left)
{
	struct ram_block block = {.name = "pc.ram", .size = 4096, .page_size = 4096, .fd = -1};
	struct wire_message message = {.type = WIRE_PREPARE};
	struct mailbox *m = make();

	cr_assert_eq(ram_map_add(&message.prepare.ram, &block, NULL), 0);
	cr_assert(mailbox_message(m, &message, 0));
	cr_assert_eq(message.type, 0, "taken over");
	mailbox_note(m, MAIL_CANCEL, 0, "x");
	mailbox_destroy(m);
	mailbox_destroy(NULL);
}
