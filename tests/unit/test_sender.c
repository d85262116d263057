// SPDX-License-Identifier: Apache-2.0
// What the guest never had, or has given away, of its huge pages: neither read nor sent, and
// allocated on neither side.
#include "sender.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "hole.h"
#include "migration.h"
#include "ram_access.h"
#include "small_pool.h"

#define UNIT 512u /* pages */
#define UNITS 24u

TestSuite(sender, .timeout = 30);

/* Huge pages 0, 1, 5 and 13 are in use. The source's file system has not one more to give. */
static void start(struct migration *m)
{
	small_pool_want(16);
	small_pool_mount(GUEST_HUGE_SIZE, 5ull * GUEST_HUGE_SIZE);
	migration_init(m, 3);
	small_pool_add(&m->from, "mem", (uint64_t)UNITS * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_ram_add(&m->to, "mem", (uint64_t)UNITS * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_write(&m->from.blocks[0], 7, 1);
	guest_write(&m->from.blocks[0], UNIT + 3, 2);
	guest_write(&m->from.blocks[0], 5 * UNIT, 3);
	guest_write(&m->from.blocks[0], 14 * UNIT - 1, 4);
	/* The last free page goes to somebody else. */
	small_pool_add(&m->from, "other", GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_ram_add(&m->to, "other", GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_write(&m->from.blocks[1], 0, 5);
	migration_start(m);
}

static void expect_units(const struct ram_block *b, uint64_t units)
{
	cr_assert_eq(guest_allocated(b), units * UNIT, "%s: %llu huge pages are allocated", b->name,
		     (unsigned long long)guest_allocated(b) / UNIT);
}

static void expect_both(const struct migration *m, uint64_t units)
{
	expect_units(&m->from.blocks[0], units);
	expect_units(&m->to.blocks[0], units);
	migration_expect_equal(m);
}

Test(sender, huge_holes_stay_holes_on_both_sides)
{
	struct source_stats stats;
	struct migration m;

	start(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 5);
	expect_both(&m, 4);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 0);
	expect_both(&m, 4);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.pages_sent, 5);
	migration_end(&m);
}

/* Balloon and free page reporting: the host takes a page, and the guest has another one instead. */
Test(sender, huge_pages_come_and_go)
{
	struct migration m;
	struct ram_block *b;

	start(&m);
	b = &m.from.blocks[0];
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_punch(b, UNIT, UNIT);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	expect_both(&m, 3);
	guest_write(b, 20 * UNIT + 9, 6);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	expect_both(&m, 4);
	guest_punch(b, 20 * UNIT, UNIT);
	guest_write(b, UNIT + 100, 7);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1);
	expect_both(&m, 4);
	migration_end(&m);
}

/* In one granule of two huge pages. */
Test(sender, a_huge_page_beside_a_hole)
{
	struct migration m;
	struct ram_block *b;

	start(&m);
	b = &m.from.blocks[0];
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_punch(b, 0, UNIT);
	memset(guest_page(b, 5 * UNIT), 0, RAM_PAGE_SIZE); /* zero, but there */
	guest_write(b, 4 * UNIT, 8);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	expect_units(b, 4);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(sender, huge_holes_are_not_owed)
{
	struct migration m;
	struct ram_block *b;

	start(&m);
	b = &m.from.blocks[0];
	migration_expect_stale(&m);
	migration_round(&m, SOURCE_ROUND_STALE);
	cr_assert_eq(owed_left(m.owed), 5 * UNIT);
	guest_punch(b, 5 * UNIT, UNIT);
	guest_write(b, 22 * UNIT, 9);
	migration_round(&m, SOURCE_ROUND_STALE_LAST);
	expect_units(b, 4);
	expect_units(&m.to.blocks[0], 0);
	cr_assert_eq(owed_left(m.owed), 5 * UNIT);
	cr_assert(owed_test(m.owed, 0, 22 * UNIT));
	cr_assert_not(owed_test(m.owed, 0, 5 * UNIT));
	migration_end(&m);
}

/* Without a probe there is no telling, and the first hole that is read cannot be had. */
Test(sender, memory_that_cannot_be_had_fails_the_round)
{
	struct source_round round;
	struct migration m;

	start(&m);
	ram_access_init();
	hole_probe_destroy(m.from.blocks[0].probe);
	m.from.blocks[0].probe = NULL;
	migration_begin_round(&m, SOURCE_ROUND_LIVE);
	round = migration_await_round(&m);
	cr_assert_eq(round.result, -ENOMEM);
	cr_assert(strstr(round.err.text, "RAM block mem: there is no memory for it: of huge pages "
					 "of 2048 KiB 0 MiB are free now"),
		  "%s", round.err.text);
	migration_end(&m);
}
