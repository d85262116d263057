// SPDX-License-Identifier: Apache-2.0
// What QEMU tells of its guest's disk requests in flight, without waiting for any of them.
//
// One thread at a time.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "qmp.h"

struct disk_flight; /* what was seen before */

/* Of the disk that is worst off, in this order. */
enum disk_flight_state {
	DISK_FLIGHT_NONE,    /* each disk had no request in flight at some moment of the look */
	DISK_FLIGHT_QUICK,   /* requests are in flight, and such as they end quickly */
	DISK_FLIGHT_UNKNOWN, /* QEMU does not tell whether any is, and none was seen to end */
	DISK_FLIGHT_SLOW,    /* they end, but take long */
	DISK_FLIGHT_STILL,   /* some are in flight, and none has ended since the watch began */
};

/* Requests that take no longer, on an average, are quick. */
#define DISK_FLIGHT_QUICK_US 5000u

struct disk_flight_view {
	enum disk_flight_state state;
	uint64_t mean_us;   /* how long requests took that ended last, on the slowest disk; 0: none
			     * has ended yet */
	unsigned int disks; /* with a medium, of which QEMU tells */
	uint64_t still_us;  /* how long at least a disk has requests in flight of which none ends */
};

/* -ENOMEM */
int disk_flight_new(struct disk_flight **out);
void disk_flight_destroy(struct disk_flight *f);

/* Look; `watch`: it is the first of several looks, and only what ends from here on counts as
 * seen to end. -ETIMEDOUT: QEMU has not answered within timeout_ms; else as qmp_execute. */
int disk_flight_look(struct disk_flight *f, struct qmp *q, bool watch, int timeout_ms,
		     struct disk_flight_view *view, struct errtext *err);
