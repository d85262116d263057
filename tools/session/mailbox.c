// SPDX-License-Identifier: Apache-2.0
// A queue of things that happened.
#include "mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "clock.h"

/* A linked list: the rare mail may allocate, and none is ever dropped. */
struct node {
	struct node *next;
	struct mail mail;
	char text[WIRE_TEXT_MAX + 1];
};

struct mailbox {
	atomic_bool urgent; /* relaxed: a hint, the mail itself counts */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* CLOCK_MONOTONIC */
	/* under lock */
	struct node *first, **last;

	struct node *taken; /* private to the thread that takes: it has this one's text */
};

int mailbox_new(struct mailbox **out)
{
	struct mailbox *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->last = &m->first;
	pthread_mutex_init(&m->lock, NULL);
	clock_cond_init(&m->wake);
	*out = m;
	return 0;
}

static struct node *pop(struct mailbox *m)
{
	struct node *n = m->first;

	if (n) {
		m->first = n->next;
		if (!m->first)
			m->last = &m->first;
	}
	return n;
}

void mailbox_destroy(struct mailbox *m)
{
	struct node *n;

	if (!m)
		return;
	while ((n = pop(m))) {
		wire_message_destroy(&n->mail.message);
		free(n);
	}
	free(m->taken);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* Nothing sensible is left to do without a few kilobytes, and a lost mail could mean a lost guest:
 * better to die, which both sides know how to survive. */
static struct node *new_node(void)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	return n;
}

static bool is_urgent(const struct mail *mail)
{
	return mail->kind == MAIL_CANCEL || mail->kind == MAIL_CONTROL_LOST ||
	       (mail->kind == MAIL_MESSAGE && mail->message.type == WIRE_ABORT);
}

static void append(struct mailbox *m, struct node *n)
{
	if (is_urgent(&n->mail))
		atomic_store_explicit(&m->urgent, true, memory_order_relaxed);
	pthread_mutex_lock(&m->lock);
	*m->last = n;
	m->last = &n->next;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
}

void mailbox_post(struct mailbox *m, const struct mail *mail)
{
	struct node *n = new_node();

	n->mail = *mail;
	snprintf(n->text, sizeof(n->text), "%s", mail->text ? mail->text : "");
	append(m, n);
}

void mailbox_message(struct mailbox *m, struct wire_message *message)
{
	struct node *n = new_node();

	n->mail.kind = MAIL_MESSAGE;
	n->mail.message = wire_message_steal(message);
	append(m, n);
}

void mailbox_qemu_event(struct mailbox *m, enum qemu_event event, uint64_t time_us)
{
	const struct mail mail = {.kind = MAIL_QEMU_EVENT, .event = event, .a = time_us};

	mailbox_post(m, &mail);
}

void mailbox_note(struct mailbox *m, enum mail_kind kind, int result, const char *text)
{
	const struct mail mail = {.kind = kind, .result = result, .text = text};

	mailbox_post(m, &mail);
}

void mailbox_take(struct mailbox *m, uint64_t deadline_us, struct mail *mail)
{
	const struct timespec until = clock_timespec(deadline_us);
	struct node *n;

	pthread_mutex_lock(&m->lock);
	while (!m->first)
		if (pthread_cond_timedwait(&m->wake, &m->lock, &until) == ETIMEDOUT)
			break;
	n = pop(m);
	pthread_mutex_unlock(&m->lock);
	free(m->taken);
	m->taken = n;
	*mail = n ? n->mail : (struct mail){.kind = MAIL_NONE};
	mail->text = n ? n->text : "";
}

const atomic_bool *mailbox_urgent(const struct mailbox *m)
{
	return &m->urgent;
}
