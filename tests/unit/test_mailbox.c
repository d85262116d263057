// SPDX-License-Identifier: Apache-2.0
// The mailbox: nothing lost, order kept, deadlines met.
#include "mailbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "clock.h"

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

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (unsigned int i = 0; i < EACH; i++) {
		struct mail mail = {.kind = MAIL_ROUND_DONE, .a = p->index, .b = i};

		mailbox_post(p->mailbox, &mail);
	}
	return NULL;
}

Test(mailbox, many_may_post_at_once)
{
	struct poster posters[POSTERS];
	uint64_t next[POSTERS] = {0};
	struct mailbox *m = make();
	struct mail out;

	for (unsigned int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){m, i, 0};
		cr_assert_eq(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
	}
	for (unsigned int i = 0; i < POSTERS * EACH; i++) {
		mailbox_take(m, later(), &out);
		cr_assert_eq(out.kind, MAIL_ROUND_DONE);
		cr_assert_eq(out.b, next[out.a]++, "each poster's order is kept");
	}
	for (unsigned int i = 0; i < POSTERS; i++)
		pthread_join(posters[i].thread, NULL);
	mailbox_destroy(m);
}

/* What nobody took out is released, a PREPARE's RAM map too (seen by a sanitizer). */
Test(mailbox, destroy_releases_what_is_left)
{
	struct ram_block block = {.name = "pc.ram", .size = 4096, .page_size = 4096, .fd = -1};
	struct wire_message message = {.type = WIRE_PREPARE};
	struct mailbox *m = make();

	cr_assert_eq(ram_map_add(&message.prepare.ram, &block, NULL), 0);
	mailbox_message(m, &message);
	cr_assert_eq(message.type, 0, "taken over");
	mailbox_note(m, MAIL_CANCEL, 0, "x");
	mailbox_destroy(m);
	mailbox_destroy(NULL);
}
