// SPDX-License-Identifier: Apache-2.0
// A queue of things that happened.
//
// One list keeps the order; its nodes come from two pools, for messages and for notes, and all were
// there from the beginning.
#include "mailbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "cleanup.h"
#include "clock.h"

/* What page_link's states, as results of MAIL_LINK, are kept apart by. */
#define LINK_RESULTS 8
/* Kinds of notes, as coalesce tells them apart. */
#define FIRST_EVENT (MAIL_LAST_ + 1)
#define FIRST_LINK (FIRST_EVENT + QEMU_EVENT_END_)
#define KINDS (FIRST_LINK + LINK_RESULTS)
#define NOTES 80
_Static_assert(NOTES - 1 > 2 * KINDS,
	       "one is lent, and of some kind there are three when it is full");

struct node {
	struct node *next;
	struct mail mail;
	char *text; /* a note's, WIRE_TEXT_MAX + 1 bytes; NULL: a message's node */
};

struct mailbox {
	atomic_bool urgent; /* relaxed: a hint, the mail itself counts */

	pthread_mutex_t lock;
	pthread_cond_t wake, room; /* CLOCK_MONOTONIC; there is mail; a message's node is free */
	/* under lock */
	struct node *first, **last;
	struct node *free_notes, *free_messages;
	struct node *lent; /* the note that was taken last, for its text; or NULL */

	struct node notes[NOTES], messages[MAILBOX_MESSAGES];
	char texts[NOTES][WIRE_TEXT_MAX + 1];
};

static void give_back(struct mailbox *m, struct node *n)
{
	struct node **pool = n->text ? &m->free_notes : &m->free_messages;

	n->next = *pool;
	*pool = n;
	if (!n->text)
		pthread_cond_signal(&m->room);
}

int mailbox_new(struct mailbox **out)
{
	struct mailbox *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->last = &m->first;
	pthread_mutex_init(&m->lock, NULL);
	clock_cond_init(&m->wake);
	clock_cond_init(&m->room);
	for (unsigned int i = 0; i < NOTES; i++) {
		m->notes[i].text = m->texts[i];
		give_back(m, &m->notes[i]);
	}
	for (unsigned int i = 0; i < MAILBOX_MESSAGES; i++)
		give_back(m, &m->messages[i]);
	*out = m;
	return 0;
}

/* *at is the first's, or another's next. */
static struct node *unlink_at(struct mailbox *m, struct node **at)
{
	struct node *n = *at;

	*at = n->next;
	if (!*at)
		m->last = at;
	return n;
}

void mailbox_destroy(struct mailbox *m)
{
	if (!m)
		return;
	while (m->first)
		wire_message_destroy(&unlink_at(m, &m->first)->mail.message);
	pthread_cond_destroy(&m->room);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* ---- room ---- */

static struct node *pop_free(struct node **pool)
{
	struct node *n = *pool;

	if (n)
		*pool = n->next;
	return n;
}

static unsigned int kind_of(const struct mail *mail)
{
	if (mail->kind == MAIL_QEMU_EVENT)
		return FIRST_EVENT + mail->event;
	if (mail->kind == MAIL_LINK)
		return FIRST_LINK + (unsigned int)mail->result % LINK_RESULTS;
	return mail->kind;
}

static bool is_in(const struct node *from, const struct node *to, unsigned int kind)
{
	for (; from != to; from = from->next)
		if (from->text && kind_of(&from->mail) == kind)
			return true;
	return false;
}

/* The room is full of notes: of some kind there is one with an older and a younger. */
static struct node *coalesce(struct mailbox *m)
{
	for (struct node **at = &m->first; *at; at = &(*at)->next) {
		unsigned int kind = kind_of(&(*at)->mail);

		if ((*at)->text && is_in(m->first, *at, kind) && is_in((*at)->next, NULL, kind))
			return unlink_at(m, at);
	}
	return NULL;
}

/* ---- posting ---- */

static bool is_urgent(enum mail_kind kind, enum wire_type type)
{
	return kind == MAIL_CANCEL || kind == MAIL_CONTROL_LOST ||
	       (kind == MAIL_MESSAGE && type == WIRE_ABORT);
}

static void note_urgency(struct mailbox *m, enum mail_kind kind, enum wire_type type)
{
	if (is_urgent(kind, type))
		atomic_store_explicit(&m->urgent, true, memory_order_relaxed);
}

static void append(struct mailbox *m, struct node *n)
{
	n->next = NULL;
	*m->last = n;
	m->last = &n->next;
	pthread_cond_signal(&m->wake);
}

void mailbox_post(struct mailbox *m, const struct mail *mail)
{
	struct node *n;

	note_urgency(m, mail->kind, 0);
	pthread_mutex_lock(&m->lock);
	n = pop_free(&m->free_notes);
	if (!n)
		n = coalesce(m);
	assert(n);
	n->mail = *mail;
	snprintf(n->text, WIRE_TEXT_MAX + 1, "%s", mail->text ? mail->text : "");
	append(m, n);
	pthread_mutex_unlock(&m->lock);
}

void mailbox_note(struct mailbox *m, enum mail_kind kind, int result, const char *text)
{
	const struct mail mail = {.kind = kind, .result = result, .text = text};

	mailbox_post(m, &mail);
}

void mailbox_qemu_event(struct mailbox *m, enum qemu_event event, uint64_t time_us)
{
	const struct mail mail = {.kind = MAIL_QEMU_EVENT, .event = event, .a = time_us};

	mailbox_post(m, &mail);
}

bool mailbox_message(struct mailbox *m, struct wire_message *message, uint64_t deadline_us)
{
	const struct timespec until = clock_timespec(deadline_us);
	struct node *n;
	int ret = 0;

	note_urgency(m, MAIL_MESSAGE, message->type);
	pthread_mutex_lock(&m->lock);
	while (!m->free_messages && ret == 0)
		ret = pthread_cond_timedwait(&m->room, &m->lock, &until);
	n = pop_free(&m->free_messages);
	if (n) {
		n->mail = (struct mail){.kind = MAIL_MESSAGE};
		n->mail.message = wire_message_steal(message);
		append(m, n);
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

/* ---- taking ---- */

void mailbox_take(struct mailbox *m, uint64_t deadline_us, struct mail *mail)
{
	const struct timespec until = clock_timespec(deadline_us);
	struct node *n = NULL;

	*mail = (struct mail){.kind = MAIL_NONE, .text = ""};
	pthread_mutex_lock(&m->lock);
	if (m->lent)
		give_back(m, steal_ptr(&m->lent));
	while (!m->first)
		if (pthread_cond_timedwait(&m->wake, &m->lock, &until) == ETIMEDOUT)
			break;
	if (m->first) {
		n = unlink_at(m, &m->first);
		*mail = n->mail;
		mail->text = n->text ? n->text : "";
	}
	if (n && n->text)
		m->lent = n;
	else if (n)
		give_back(m, n);
	pthread_mutex_unlock(&m->lock);
}

const atomic_bool *mailbox_urgent(const struct mailbox *m)
{
	return &m->urgent;
}
