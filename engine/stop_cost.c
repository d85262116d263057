// SPDX-License-Identifier: Apache-2.0
// What a stop costs that no round can lower, from what this migration has cost so far.
#include "stop_cost.h"

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t stop_cost_fixed_us(const struct stop_cost *c)
{
	uint64_t record =
		c->record_us < STOP_COST_RECORD_MAX_US ? c->record_us : STOP_COST_RECORD_MAX_US;
	uint64_t twice = add(c->scan_us, record);

	return add(add(STOP_COST_GUEST_US, c->trip_us), add(twice, twice));
}
