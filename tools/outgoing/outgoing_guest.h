// SPDX-License-Identifier: Apache-2.0
// The guest on this host, as it was found. Driving thread only, except where it says otherwise.
#pragma once

struct errtext;
struct outgoing;

/* Find the guest and see whether it can be migrated; touches nothing. Negative errno, recorded. */
int outgoing_guest_check(struct outgoing *o);
/* While the migration waited for its turn the guest may have been restarted, or got a device that
 * writes its memory unseen: -EAGAIN, and the like, recorded. */
int outgoing_guest_check_again(struct outgoing *o);
/* Wait until no disk I/O in flight can write the guest's memory any more; of the source's quiesce
 * (source.h). By a worker. */
int outgoing_guest_drain(void *o, struct errtext *err);
void outgoing_guest_close_monitor(struct outgoing *o);
void outgoing_guest_forget(struct outgoing *o);
