// SPDX-License-Identifier: Apache-2.0
// What a stop costs that no round can lower, from what this migration has cost so far.
#include "stop_cost.h"

#include "saturating.h"

uint64_t stop_cost_fixed_us(const struct stop_cost *c)
{
	uint64_t record =
		c->record_us < STOP_COST_RECORD_MAX_US ? c->record_us : STOP_COST_RECORD_MAX_US;
	uint64_t twice = saturating_add(c->scan_us, record);

	return saturating_add(saturating_add(STOP_COST_GUEST_US, c->trip_us),
			      saturating_add(twice, twice));
}
