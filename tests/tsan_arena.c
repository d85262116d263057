// SPDX-License-Identifier: Apache-2.0
// Lets Criterion's test programs start under ThreadSanitizer.
//
// Criterion shares memory with the process of each test, at a fixed address that BoxFort, its
// sandbox, draws by lot: 0x200000000000 + (rand_r() & 0x3fffff) * 2^24. ThreadSanitizer lets a
// program map only a few ranges, and the lot falls outside them 42 times in 43: "Could not
// initialize inheritable arena". So the lot is drawn here, from 0x550000000000 up: inside the
// sanitizer's middle range, and below 0x555555554000, where programs begin. Both libraries stay as
// they are. tests/run preloads this; nothing else that we run under it calls rand_r(3).
#include <stdlib.h>

#define LOT_OF_FIRST ((0x550000000000 - 0x200000000000) >> 24)
#define LOTS 0x1000u

int rand_r(unsigned int *seed)
{
	return (int)(LOT_OF_FIRST + (*seed)++ % LOTS);
}
