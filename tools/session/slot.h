// SPDX-License-Identifier: Apache-2.0
// How many migrations may run at once on this host: a queue of tickets in a directory.
//
// A migration joins, and may run as soon as fewer tickets than its limit are ahead of it: first in,
// first out, and each may have a limit of its own. A ticket counts for as long as its process lives
// and has not left; the kernel takes it back from one that crashed.
#pragma once

#include "errtext.h"

struct slot;

/* Take the next ticket of the directory dir, which is made (0700) if it is missing. Blocks for
 * moments only, while others join or count. Any thread; a process may hold several slots. *out is
 * the caller's, for slot_leave. A child forked without exec keeps the ticket alive until it
 * ends. */
int slot_join(const char *dir, struct slot **out, struct errtext *err);

/* The number of living tickets before this one. Removes those of the dead. One thread at a time
 * per slot. -EIO and the like: the directory is out of order. */
int slot_ahead(struct slot *s, unsigned int *ahead);

/* Give the ticket back; s may be NULL. */
void slot_leave(struct slot *s);
