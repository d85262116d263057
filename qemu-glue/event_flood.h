// SPDX-License-Identifier: Apache-2.0
// Do a guest's events come faster than a client should let libvirt send them?
//
// libvirt's daemon queues what a client has asked for, without a bound. One that does not read at
// all is hung up on within half a minute, as it does not answer the daemon's keep-alive either. One
// that reads, but slower than QEMU talks, is not: the queue grows until the daemon answers nobody
// (seen with QEMU 10: 12,000 events a second, all of which were asked for; 1.3 GB). Since only a
// few are asked for, by name, there are about ten in a whole migration. So many more in a second
// that they are no migration's are the end of it, long before the daemon has trouble.
//
// Counted by QEMU's own time stamps: events that came while this process stood still, and are
// delivered at once, are no flood. Pure; one thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define EVENT_FLOOD_MAX 1000 /* in a second */

struct event_flood {
	uint64_t begun_us; /* of the second that is counted; 0: none yet */
	unsigned int count;
};

/* Another event, which QEMU has stamped so. Was it one too many? */
bool event_flood_note(struct event_flood *f, uint64_t time_us);
