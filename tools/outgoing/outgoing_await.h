// SPDX-License-Identifier: Apache-2.0
// Waiting: the one place where the driving thread sleeps, and takes what the others tell it.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "mailbox.h"

struct outgoing;

struct outgoing_inbox {
	struct mailbox *box; /* where other threads post */
	/* Notes what a mail says, and looks up: outgoing_mail.c's. A pointer, because whoever waits
	 * stands below those who note. */
	void (*take)(struct outgoing *o, struct mail *mail);
};

/* How often the driving thread looks up at least, to see and tell how far the migration is. */
#define OUTGOING_TICK_US 250000

typedef bool until_fn(const struct outgoing *o);
/* Take mail until `until` holds: 0. A failure ends the wait: its negative errno. Past timeout_ms:
 * -ETIMEDOUT, recorded as a failure with a text about `what`, unless what is NULL. After the
 * hand-over no failure ends a wait. */
int outgoing_await(struct outgoing *o, until_fn *until, uint64_t timeout_ms, const char *what);
/* The same until libvirt's library has come to an end, well or not. */
int outgoing_await_job(struct outgoing *o, uint64_t timeout_ms);
/* An `until` for whoever waits for time to pass. */
bool outgoing_never(const struct outgoing *o);
/* Something broke that is seldom the cause: for half a second whoever knows better may say so, and
 * is recorded as the failure then. Takes mail: the text of the one in hand is gone afterwards. */
void outgoing_await_cause(struct outgoing *o);
