// SPDX-License-Identifier: Apache-2.0
// What a stop costs that no round can lower, from what this migration has cost so far.
//
//   drain, device state, load, libvirt's finish   cannot be known before: STOP_COST_GUEST_US
//   last scan                                     as the latest round's
//   check                                         the same once more, which protects nothing
//   hand-over                                     a record written here, one there, and a round
//   trip
//
// Pure, for any thread. Microseconds.
#pragma once

#include <stdint.h>

/* An allowance: whole downtimes of small guests on idle hosts are 8 to 14 ms (README). Busy hosts,
 * many devices or a busy libvirtd take more: on two cores with a load of 6, 4 to 124 ms were seen
 * of one guest. */
#define STOP_COST_GUEST_US 12000u

/* The record is written before the first round, and then not until the stop: a slow time is taken
 * for an accident, which shall not forbid the stop for good. */
#define STOP_COST_RECORD_MAX_US 10000u

struct stop_cost {
	uint64_t scan_us;   /* of the latest round: all memory, to find what was written */
	uint64_t record_us; /* to write the record of the migration, the slowest time */
	uint64_t trip_us;   /* to the destination and back */
};

/* Saturates. */
uint64_t stop_cost_fixed_us(const struct stop_cost *c);
