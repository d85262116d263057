// SPDX-License-Identifier: Apache-2.0
// What a stop costs that no round can lower, from what this migration has cost so far.
//
//   drain, device state, load, libvirt's finish   cannot be known before: STOP_COST_GUEST_US
//   last scan                                     as the latest round's
//   check                                         the same once more, which protects nothing
//   hand-over                                     a record on disk here, one there, and a round
//   trip
//
// Pure, for any thread. Microseconds.
#pragma once

#include <stdint.h>

/* Measured of small guests on hosts that had nothing else to do; with many devices, or a daemon of
 * libvirt's that is busy, it is more. */
#define STOP_COST_GUEST_US 12000u

struct stop_cost {
	uint64_t scan_us;   /* of the latest round: all memory, to find what was written */
	uint64_t record_us; /* to have the record of the migration on disk, the slowest time */
	uint64_t trip_us;   /* to the destination and back */
};

/* Saturates. */
uint64_t stop_cost_fixed_us(const struct stop_cost *c);
