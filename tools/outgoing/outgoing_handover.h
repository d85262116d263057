// SPDX-License-Identifier: Apache-2.0
// The hand-over: who has the guest is decided here. Driving thread only; negative errno.
#pragma once

struct outgoing;

/* The phase. 0: the guest is the destination's. Negative errno: before the release it is recorded,
 * and the phase is still the one before; after it the phase is roll-back (the destination never ran
 * the guest, and never will) or lost (nobody knows). */
int outgoing_handover(struct outgoing *o);
