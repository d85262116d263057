// SPDX-License-Identifier: Apache-2.0
// How far a migration is, measured a few times a second. Driving thread only.
#pragma once

#include <stdint.h>

struct outgoing;

/* Measure and tell, if it is time again: the status socket, the progress event, the pacer's view of
 * what headers cost, the progress time-out. */
void outgoing_progress_tick(struct outgoing *o);
/* Bytes that have crossed the network on all connections, both ways. */
uint64_t outgoing_progress_bytes(const struct outgoing *o);
