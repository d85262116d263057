// SPDX-License-Identifier: Apache-2.0
// Old records go.
#pragma once

#include <stdint.h>

/* How old they become, in seconds. */
struct record_ages {
	uint64_t arrived_s;
	/* Of guests that were never released to this host. Any peer makes them by beginning a
	 * migration, so there are at most so many: if there are more, they become less old, but
	 * for those of the last minute. */
	uint64_t unreleased_s;
	unsigned int unreleased_max;
};

/* A week, a day, 256. */
extern const struct record_ages record_ages_usual;

/* Remove the records of guests that came here, are known to have run or never to have run, lack no
 * memory, and were written longer ago than that; of those that were never released it is enough
 * that their QEMU has gone. Directories of guests that then hold nothing of use go too, and logs of
 * their monitors (monitor_log.h) that are as old. Guests that another dray works on are left alone.
 */
void record_sweep(const struct record_ages *ages);
