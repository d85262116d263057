// SPDX-License-Identifier: Apache-2.0
// One migration from the caller's point of view: as many attempts as were asked for, each kept in
// the guest's history, one result.
#pragma once

#include "outgoing.h"

/* Returns the exit status; everything has been reported. signals_block must have been called:
 * SIGINT and SIGTERM are taken here and mean cancel. */
int attempts_run(const struct outgoing_options *options, struct report *report);
