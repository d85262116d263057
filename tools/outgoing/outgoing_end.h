// SPDX-License-Identifier: Apache-2.0
// The end of a migration, good or bad, on this host. Driving thread only.
#pragma once

#include <stdbool.h>

struct outgoing;

/* The phase after the destination has the guest: remove it here. Always 0. */
int outgoing_end_finish(struct outgoing *o);
/* The guest stays: make sure that it runs here as before, or warn of what the guard has to do. */
void outgoing_end_settle(struct outgoing *o);
/* Give everything back, in an order in which nothing uses what has gone. False if something still
 * might use the rest, which must then be left to the end of the process. */
bool outgoing_end_release_all(struct outgoing *o);
