// SPDX-License-Identifier: Apache-2.0
// Percentiles, exact for small values and to one part in sixteen for all others.
#include "histogram.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>

/* 1, 1 + step, 1 + 2 * step, ...: count values. */
struct row {
	uint64_t step, count;
	unsigned int permille;
	uint64_t expected; /* before rounding */
};

static struct row rows[] = {
	{1, 1, 500, 1},
	{1, 1, 1000, 1},
	{1, 15, 500, 8},
	{1, 15, 999, 15},
	{1, 15, 0, 1},
	{1, 1000, 500, 500},
	{1, 1000, 990, 990},
	{1, 1000, 1000, 1000},
	{1000, 100, 500, 49001},
	{0, 10, 990, 1},
	{7, 100000, 999, 699294},
	{1ull << 50, 1000, 500, (499ull << 50) + 1},
	{1, 1001, 500, 501},
	{1, 3, 334, 2},
};

ParameterizedTestParameters(histogram, percentiles)
{
	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *row, histogram, percentiles)
{
	struct histogram h = {0};
	uint64_t got;

	for (uint64_t i = 0; i < row->count; i++)
		histogram_add(&h, 1 + i * row->step);
	got = histogram_percentile(&h, row->permille);
	cr_assert_geq(got, row->expected, "%llu", (unsigned long long)got);
	cr_assert_leq(got, row->expected + row->expected / HISTOGRAM_PARTS, "%llu",
		      (unsigned long long)got);
	cr_assert_eq(histogram_count(&h), row->count);
	cr_assert_eq(histogram_max(&h), 1 + (row->count - 1) * row->step);
}

Test(histogram, extremes)
{
	struct histogram h = {0};

	cr_assert_eq(histogram_percentile(&h, 500), 0);
	cr_assert_eq(histogram_max(&h), 0);
	histogram_add(&h, 0);
	cr_assert_eq(histogram_percentile(&h, 1000), 0);
	cr_assert_eq(histogram_count(&h), 1);
	histogram_add(&h, UINT64_MAX);
	cr_assert_eq(histogram_percentile(&h, 1000), UINT64_MAX);
	cr_assert_eq(histogram_percentile(&h, 500), 0);
}

/* Every value falls into a bucket that is neither too wide nor before the last one's. */
Test(histogram, buckets_are_in_order_and_narrow)
{
	uint64_t last = 0;

	for (unsigned int bit = 0; bit < 64; bit++) {
		for (uint64_t part = 0; part < 64; part++) {
			uint64_t value = (1ull << bit) + ((1ull << bit) >> 6) * part, end;
			struct histogram h = {0};

			histogram_add(&h, value);
			histogram_add(&h, UINT64_MAX);
			end = histogram_percentile(&h, 500);
			cr_assert_geq(end, value);
			cr_assert_leq(end - value, value / HISTOGRAM_PARTS);
			cr_assert_geq(end, last);
			last = end;
		}
	}
}

Test(histogram, merge_adds)
{
	struct histogram a = {0}, b = {0};

	for (uint64_t i = 1; i <= 10; i++) {
		histogram_add(&a, i);
		histogram_add(&b, 100 * i);
	}
	histogram_merge(&a, &b);
	cr_assert_eq(histogram_count(&a), 20);
	cr_assert_eq(histogram_count(&b), 10);
	cr_assert_eq(histogram_max(&a), 1000);
	cr_assert_eq(histogram_percentile(&a, 500), 10);
	cr_assert_eq(histogram_percentile(&a, 1000), 1000);
}

Test(histogram, walk_meets_each_bucket_once_and_in_order)
{
	const uint64_t values[] = {0, 3, 3, 1000, 1001, 5000, UINT64_MAX};
	const uint64_t counts[] = {1, 2, 2, 1, 1}, ends[] = {0, 3, 1023, 5119, UINT64_MAX};
	unsigned int bucket = 0, met = 0;
	struct histogram h = {0};
	uint64_t end, n;

	cr_assert_eq(histogram_next(&h, &bucket, &end), 0);
	for (unsigned int i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		histogram_add(&h, values[i]);
	for (bucket = 0; (n = histogram_next(&h, &bucket, &end)) != 0; met++) {
		cr_assert_lt(met, sizeof(counts) / sizeof(counts[0]));
		cr_assert_eq(n, counts[met]);
		cr_assert_eq(end, ends[met], "%llu", (unsigned long long)end);
	}
	cr_assert_eq(met, sizeof(counts) / sizeof(counts[0]));
	cr_assert_eq(histogram_next(&h, &bucket, &end), 0);
}

static void *add_many(void *h)
{
	for (uint64_t i = 0; i < 100000; i++)
		histogram_add(h, i % 100);
	return NULL;
}

Test(histogram, threads_lose_nothing)
{
	static struct histogram h;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, add_many, &h), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(histogram_count(&h), 400000);
	cr_assert_eq(histogram_max(&h), 99);
}
