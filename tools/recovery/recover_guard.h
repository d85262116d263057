// SPDX-License-Identifier: Apache-2.0
// What the guard process does once its dray was killed (guard.h starts it).
#pragma once

#include "recover.h"

/* recover_run, again and again for as long as this host may hold memory that the guest lacks, or
 * has to fetch it. Failures go to syslog. Returns as recover_run does in the end. */
int recover_guard(const struct recover_options *options);
