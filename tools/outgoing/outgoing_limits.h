// SPDX-License-Identifier: Apache-2.0
// How long things may take. Driving thread only; milliseconds unless a name says otherwise.
#pragma once

#include <stdint.h>

struct mail;
struct outgoing;

#define OUTGOING_NO_LIMIT_MS (365ull * 24 * 3600 * 1000)

/* Seconds that the whole migration may take; 0: no limit. */
uint64_t outgoing_limits_completion_s(const struct outgoing *o);
/* What is left of that, for a wait inside a round: rounded up, so that the time is over for
 * convergence.h as well when the wait is. */
uint64_t outgoing_limits_completion_left_ms(const struct outgoing *o);
/* What is left of the time that the last pass may take while the guest is stopped. */
uint64_t outgoing_limits_stopped_left_ms(const struct outgoing *o);
/* MAIL_SET: `dray set` has changed limits. */
void outgoing_limits_take_set(struct outgoing *o, struct mail *mail);
