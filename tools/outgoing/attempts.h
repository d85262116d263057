// SPDX-License-Identifier: Apache-2.0
// One migration from the caller's point of view: as many attempts as were asked for, each kept in
// the guest's history, one result.
#pragma once

#include <stdbool.h>
#include "outgoing.h"

/* Returns the exit status; everything has been reported. signals_block must have been called:
 * SIGINT and SIGTERM are taken here and mean cancel. */
int attempts_run(const struct outgoing_options *options, struct report *report);

/* Have two attempts, one after the other, stopped the guest and failed for the same reason? A third
 * would stop it again, in vain. */
bool attempts_are_alike(const struct report_result *a, const struct report_result *b);
/* Of `count` attempts the last ended with this status. Returns that of all, and puts the first
 * cause before the last one, which may but follow from it: a receiver that served one attempt, and
 * is no longer there. */
int attempts_conclude(unsigned int count, const struct report_result *first, int first_status,
		      struct report_result *last, int status);
