// SPDX-License-Identifier: Apache-2.0
// How far a migration has come, and the first thing that went wrong: what every other file of the
// source stands on. Driving thread only.
#pragma once

#include <stdbool.h>

struct outgoing;

/* Record a failure: the first one counts, and so does its text. Returns code, a negative errno. */
int outgoing_fail(struct outgoing *o, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Past the release the source may not decide any more who has the guest. */
bool outgoing_is_handed_over(const struct outgoing *o);
/* Before the hand-over a failure, or a cancel, ends whatever the migration waits for. Later only
 * facts and time count. */
bool outgoing_may_give_up(const struct outgoing *o);
