// SPDX-License-Identifier: Apache-2.0
// Sums that stop at the greatest number there is: of times and sizes that may mean "without end".
//
// Pure; any thread.
#pragma once

#include <stdint.h>

static inline uint64_t saturating_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
