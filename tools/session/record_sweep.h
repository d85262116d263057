// SPDX-License-Identifier: Apache-2.0
// Old records go.
#pragma once

#include <stdint.h>

/* Remove the records of guests that came here, are known to have run or never to have run, lack no
 * memory, and were written more than so many seconds ago; directories of guests that then hold
 * nothing of use go too, and logs of their monitors (monitor_log.h) that are as old. Guests that
 * another dray works on are left alone. */
void record_sweep(uint64_t older_than_s);
