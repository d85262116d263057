// SPDX-License-Identifier: Apache-2.0
// A histogram of numbers of any size, in constant space and to a constant relative precision.
//
// Log-linear buckets: each power of two is cut into HISTOGRAM_PARTS equal parts, so a value is
// known to 1 part in HISTOGRAM_PARTS; values below HISTOGRAM_PARTS are exact. Zero-initialise.
// Any thread may call anything at any time: counts are relaxed atomics, a reading taken while
// others add is a little behind. The caller's unit is the unit (microseconds for latencies).
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_PART_BITS 4
#define HISTOGRAM_PARTS (1u << HISTOGRAM_PART_BITS)
#define HISTOGRAM_BUCKETS ((64u - HISTOGRAM_PART_BITS + 1) * HISTOGRAM_PARTS)

struct histogram {
	atomic_uint_least64_t buckets[HISTOGRAM_BUCKETS];
	atomic_uint_least64_t max;
};

void histogram_add(struct histogram *h, uint64_t value);
/* Add all of `from` to h. */
void histogram_merge(struct histogram *h, const struct histogram *from);

uint64_t histogram_count(const struct histogram *h);
uint64_t histogram_max(const struct histogram *h);
/* The least value that at least `permille` thousandths of all values do not exceed, rounded up to
 * the end of its bucket but never above the maximum; 0 if there are none. 500 is the median. */
uint64_t histogram_percentile(const struct histogram *h, unsigned int permille);
/* Walks the buckets that are not empty, in order: the count of the first one from *bucket (0 to
 * begin with) on, and in *end the largest value that it takes. *bucket moves past it. 0: no more.
 */
uint64_t histogram_next(const struct histogram *h, unsigned int *bucket, uint64_t *end);
