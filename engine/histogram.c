// SPDX-License-Identifier: Apache-2.0
// A log-linear histogram.
#include "histogram.h"

static uint64_t load(const atomic_uint_least64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Values below HISTOGRAM_PARTS have a bucket each; then HISTOGRAM_PARTS buckets a power of two. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < HISTOGRAM_PARTS)
		return (unsigned int)value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - HISTOGRAM_PART_BITS;
	return (shift + 1) * HISTOGRAM_PARTS + (value >> shift) % HISTOGRAM_PARTS;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < HISTOGRAM_PARTS)
		return bucket;
	shift = bucket / HISTOGRAM_PARTS - 1;
	return ((uint64_t)(HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS) << shift) +
	       ((1ull << shift) - 1);
}

static void raise_max(struct histogram *h, uint64_t value)
{
	uint64_t max = load(&h->max);

	while (value > max &&
	       !atomic_compare_exchange_weak_explicit(&h->max, &max, value, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	atomic_fetch_add_explicit(&h->buckets[bucket_of(value)], 1, memory_order_relaxed);
	raise_max(h, value);
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = load(&from->buckets[i]);

		if (n)
			atomic_fetch_add_explicit(&h->buckets[i], n, memory_order_relaxed);
	}
	raise_max(h, load(&from->max));
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += load(&h->buckets[i]);
	return count;
}

uint64_t histogram_max(const struct histogram *h)
{
	return load(&h->max);
}

uint64_t histogram_percentile(const struct histogram *h, unsigned int permille)
{
	uint64_t count = histogram_count(h), max = load(&h->max), seen = 0;
	uint64_t rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;

	for (unsigned int i = 0; count && i < HISTOGRAM_BUCKETS; i++) {
		seen += load(&h->buckets[i]);
		if (seen && seen >= rank)
			return bucket_end(i) < max ? bucket_end(i) : max;
	}
	return count ? max : 0;
}

uint64_t histogram_next(const struct histogram *h, unsigned int *bucket, uint64_t *end)
{
	while (*bucket < HISTOGRAM_BUCKETS) {
		unsigned int at = (*bucket)++;
		uint64_t n = load(&h->buckets[at]);

		if (n) {
			*end = bucket_end(at);
			return n;
		}
	}
	return 0;
}
