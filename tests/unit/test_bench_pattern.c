// SPDX-License-Identifier: Apache-2.0
// Patterns of a synthetic guest: which pages, and what is in them.
#include "bench_pattern.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "ram_map.h"
#include "zero.h"

#define PAGES 1000u
#define DRAWS 100000u

static unsigned int *draw(enum bench_pattern_kind kind, uint64_t pages)
{
	unsigned int *hits = calloc(pages, sizeof(*hits));
	struct bench_pattern p;

	bench_pattern_init(&p, kind, pages);
	for (unsigned int i = 0; i < DRAWS; i++) {
		uint64_t page = bench_pattern_next(&p);

		cr_assert_lt(page, pages);
		hits[page]++;
	}
	return hits;
}

Test(bench_pattern, names_lead_back)
{
	enum bench_pattern_kind kind;

	for (unsigned int i = 0; i < BENCH_PATTERNS; i++) {
		cr_assert(bench_pattern_of(bench_pattern_name(i), &kind));
		cr_assert_eq(kind, i);
	}
	cr_assert_null(bench_pattern_name(BENCH_PATTERNS));
	cr_assert_not(bench_pattern_of("wild", &kind));
}

Test(bench_pattern, sequential_comes_round)
{
	struct bench_pattern p;

	bench_pattern_init(&p, BENCH_SEQUENTIAL, 3);
	for (unsigned int i = 0; i < 7; i++)
		cr_assert_eq(bench_pattern_next(&p), i % 3);
}

/* The numbers are the same each time, so bounds that hold once hold for ever. */
Test(bench_pattern, uniform_hits_every_page_about_as_often)
{
	unsigned int *hits = draw(BENCH_UNIFORM, PAGES);

	for (unsigned int i = 0; i < PAGES; i++)
		cr_assert(hits[i] > 50 && hits[i] < 150, "page %u: %u", i, hits[i]);
	free(hits);
}

static int descending(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return (x < y) - (x > y);
}

/* A tenth of the pages has more than half of the writes, and no two neighbours are the hottest. */
Test(bench_pattern, zipf_has_a_hot_set)
{
	unsigned int *hits = draw(BENCH_ZIPF, PAGES), hot = 0, first = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		if (hits[i] > hits[first])
			first = i;
	cr_assert_lt(hits[(first + 1) % PAGES], hits[first] / 2);
	qsort(hits, PAGES, sizeof(*hits), descending);
	for (unsigned int i = 0; i < PAGES / 10; i++)
		hot += hits[i];
	cr_assert_gt(hot, DRAWS / 2);
	cr_assert_gt(hits[0], 20 * hits[PAGES / 2]);
	free(hits);
}

Test(bench_pattern, one_page_is_enough_for_all)
{
	for (unsigned int kind = BENCH_SEQUENTIAL; kind < BENCH_PATTERNS; kind++)
		free(draw((enum bench_pattern_kind)kind, 1));
}

Test(bench_pattern, contents)
{
	_Alignas(8) uint8_t a[RAM_PAGE_SIZE], b[RAM_PAGE_SIZE];

	for (unsigned int i = 0; i < BENCH_PATTERNS; i++) {
		enum bench_pattern_kind kind = (enum bench_pattern_kind)i;

		bench_pattern_fill(kind, 5, 0, a);
		cr_assert_not(zero_page(a));
		bench_pattern_fill(kind, 5, 0, b);
		cr_assert_arr_eq(a, b, RAM_PAGE_SIZE, "the same page twice");
		bench_pattern_fill(kind, 6, 0, b);
		cr_assert_neq(memcmp(a, b, RAM_PAGE_SIZE), 0, "another page");
		bench_pattern_fill(kind, 5, 1, b);
		cr_assert_eq(memcmp(a, b, RAM_PAGE_SIZE) == 0, kind == BENCH_SILENT, "%s",
			     bench_pattern_name(i));
	}
}

Test(bench_pattern, duplicates_are_64)
{
	_Alignas(8) uint8_t a[RAM_PAGE_SIZE], b[RAM_PAGE_SIZE];

	bench_pattern_fill(BENCH_DUPLICATES, 5, 7, a);
	bench_pattern_fill(BENCH_DUPLICATES, 12 + 64, 0, b);
	cr_assert_arr_eq(a, b, RAM_PAGE_SIZE);
}

Test(bench_pattern, half_of_text_repeats)
{
	uint64_t a[RAM_PAGE_SIZE / 8];
	unsigned int same = 0;

	bench_pattern_fill(BENCH_TEXT, 5, 7, (uint8_t *)a);
	for (unsigned int i = 0; i < RAM_PAGE_SIZE / 8; i++)
		same += a[i] == a[1];
	cr_assert_eq(same, RAM_PAGE_SIZE / 16);
}
