// SPDX-License-Identifier: Apache-2.0
// Holes, on tmpfs and on hugetlbfs: known without touching them.
#include "hole.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "guest_ram.h"

#define UNITS 8u		 /* pages of the file */
#define PAGES ram_block_pages(b) /* to its end */

TestSuite(hole, .timeout = 20);

static const uint32_t page_sizes[] = {RAM_PAGE_SIZE, GUEST_HUGE_SIZE};

ParameterizedTestParameters(hole, what_the_guest_touches_is_none)
{
	return cr_make_param_array(const uint32_t, (uint32_t *)page_sizes, 2);
}

ParameterizedTest(const uint32_t *page_size, hole, what_the_guest_touches_is_none)
{
	uint64_t unit = *page_size >> RAM_PAGE_SHIFT;
	struct hole_window w;
	struct errtext err = {0};
	struct ram_map ram = {0};
	const struct ram_block *b;

	guest_ram_add(&ram, "pc.ram", (uint64_t)UNITS * *page_size, *page_size);
	b = &ram.blocks[0];
	cr_assert(hole_possible(b));
	cr_assert_eq(hole_next_data(b, 0, PAGES), UINT64_MAX);
	guest_write(b, 2 * unit, 1);		  /* by the guest's mapping */
	b->map[(5 * unit) << RAM_PAGE_SHIFT] = 1; /* by ours */
	cr_assert_eq(hole_next_data(b, 0, PAGES), 2 * unit);
	cr_assert_eq(hole_next_data(b, 3 * unit, PAGES), 5 * unit);
	cr_assert_eq(hole_next_data(b, 6 * unit, PAGES), UINT64_MAX);
	for (uint64_t from = 0; from < UNITS * unit; from += 2 * unit) {
		cr_assert_eq(hole_look(&w, b, from, from + 2 * unit, &err), 0, "%s", err.text);
		for (uint64_t page = from; page < from + 2 * unit; page++)
			cr_assert_eq(hole_at(&w, page), page / unit != 2 && page / unit != 5,
				     "page %llu", (unsigned long long)page);
	}
	cr_assert_eq(guest_allocated(b), 2 * unit, "looking allocates nothing");
	guest_punch(b, 2 * unit, unit);
	cr_assert_eq(hole_next_data(b, 0, PAGES), 5 * unit);
	guest_ram_destroy(&ram);
}

/* A window need not begin where a huge page does. */
Test(hole, inside_a_huge_page)
{
	struct hole_window w;
	struct errtext err = {0};
	struct ram_map ram = {0};
	const struct ram_block *b;

	guest_ram_add(&ram, "pc.ram", 2 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	b = &ram.blocks[0];
	guest_write(b, 600, 1);
	cr_assert_eq(hole_next_data(b, 100, PAGES), 512);
	cr_assert_eq(hole_next_data(b, 700, PAGES), 700);
	cr_assert_eq(hole_look(&w, b, 500, 520, &err), 0, "%s", err.text);
	cr_assert(hole_at(&w, 511));
	cr_assert_not(hole_at(&w, 512));
	guest_ram_destroy(&ram);
}

ParameterizedTestParameters(hole, the_search_ends_where_it_is_told)
{
	return cr_make_param_array(const uint32_t, (uint32_t *)page_sizes, 2);
}

ParameterizedTest(const uint32_t *page_size, hole, the_search_ends_where_it_is_told)
{
	uint64_t unit = *page_size >> RAM_PAGE_SHIFT;
	struct ram_map ram = {0};
	const struct ram_block *b;

	guest_ram_add(&ram, "pc.ram", (uint64_t)UNITS * *page_size, *page_size);
	b = &ram.blocks[0];
	b->map[(uint64_t)5 * *page_size] = 1;
	cr_assert_geq(hole_next_data(b, 0, 5 * unit), 5 * unit);
	cr_assert_eq(hole_next_data(b, 0, 5 * unit + 1), 5 * unit);
	cr_assert_eq(hole_next_data(b, 2, 2), 2);
	guest_ram_destroy(&ram);
}
