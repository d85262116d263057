// SPDX-License-Identifier: Apache-2.0
// The switch to post-copy: after the stale rounds a page is at the destination as it is at the
// source, or it is missing there and both sides know.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sched.h>
#include <stdatomic.h>
#include "migration.h"
#include "postcopy.h"

#define GRANULE TRACKER_GRANULE_PAGES

TestSuite(stale, .timeout = 60);

static int quiesce_at_once(void *m, bool *settled, struct errtext *err)
{
	(void)m;
	(void)err;
	*settled = true;
	return 0;
}

static void start_one(struct migration *m, uint64_t pages)
{
	migration_init(m, 1);
	migration_add(m, "pc.ram", pages << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	migration_start(m);
	migration_expect_stale(m);
}

Test(stale, what_was_written_since_is_missing_and_owed)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, 3 * GRANULE + 3);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 100; i++)
		guest_write(b, i * 30, i);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 100);
	for (uint64_t i = 0; i < 10; i++)
		guest_write(b, i * 30, 1000 + i);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 10);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 90);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 10);
	guest_write(b, 0, 2000);	       /* known */
	guest_write(b, 20 * 30, 2001);	       /* not known */
	guest_write(b, 3 * GRANULE + 2, 2002); /* was never used */
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 2);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 12);
	migration_end(&m);
}

Test(stale, holes_are_not_owed)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, 4 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 3; i++)
		guest_write(b, i * GRANULE + 7, i);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 3, "never looked at before");
	cr_assert_eq(guest_allocated(b), 3, "looking allocates nothing");
	cr_assert_eq(migration_expect_equal_or_owed(&m), 3);
	guest_punch(b, 7, 1);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 2);
	migration_end(&m);
}

Test(stale, what_is_punched_becomes_a_hole)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, 2 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 2 * GRANULE; i++)
		guest_write(b, i, i + 1);
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_punch(b, 10, 20);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 0);
	guest_punch(b, 100, GRANULE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 0);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), GRANULE - 20);
	migration_end(&m);
}

Test(stale, punched_and_written_again)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, GRANULE);
	b = &m.from.blocks[0];
	guest_write(b, 5, 1);
	guest_write(b, 6, 1);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 2);
	guest_punch(b, 5, 1);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 1);
	guest_write(b, 5, 2);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 1);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 2);
	migration_end(&m);
}

/* ---- a round cut short ---- */

static void hurry_at_first_data(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	if (n > 1)
		source_hurry(m->source);
}

static bool quiesced[] = {false, true};

ParameterizedTestParameters(stale, a_first_round_cut_short)
{
	return cr_make_param_array(bool, quiesced, 2);
}

/* At a destination that is not empty: what the source never used has to be told as well. */
ParameterizedTest(bool *quiesce, stale, a_first_round_cut_short)
{
	const uint64_t granules = 6, used = granules * GRANULE / 8;
	struct migration m;
	uint64_t first;

	migration_init(&m, 1);
	migration_add(&m, "pc.ram", granules * GRANULE << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	memset(m.to.blocks[0].map, 0xdb, m.to.blocks[0].size);
	for (uint64_t i = 0; i < used; i++)
		guest_write(&m.from.blocks[0], i * 8, i + 1);
	m.pipe[0].hook = hurry_at_first_data;
	m.pipe[0].opaque = &m;
	m.quiesce = *quiesce ? quiesce_at_once : NULL;
	migration_start(&m);
	first = migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_gt(first, 0);
	cr_assert_lt(first, used, "the round has not ended early");
	migration_expect_stale(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), used - first, "and is not cut short");
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), used - first);
	migration_end(&m);
}

/* ---- all of it ---- */

struct guest {
	const struct ram_map *ram;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint writes; /* relaxed: only to see that it runs */
};

static void *guest_main(void *arg)
{
	struct guest *g = arg;
	uint64_t state = 88172645463325252u;

	while (!atomic_load(&g->stop)) {
		const struct ram_block *b = &g->ram->blocks[guest_random(&state) % g->ram->count];
		uint64_t page = guest_random(&state) % ram_block_pages(b);

		if (guest_random(&state) % 16 == 0)
			memset(guest_page(b, page), 0, RAM_PAGE_SIZE);
		else
			guest_write(b, page, state);
		atomic_fetch_add_explicit(&g->writes, 1, memory_order_relaxed);
	}
	return NULL;
}

static void await_writes(struct guest *g, unsigned int more)
{
	unsigned int until = atomic_load(&g->writes) + more;

	while (atomic_load_explicit(&g->writes, memory_order_relaxed) < until)
		sched_yield();
}

struct shape {
	unsigned int streams, blocks, rounds;
	bool quiesce, dense;
};

static struct shape shapes[] = {
	{1, 1, 1, false, false}, {3, 2, 2, false, false}, {1, 2, 1, true, false},
	{3, 2, 2, true, false},	 {2, 1, 0, false, false}, {3, 2, 1, false, true},
};

static void start_shape(struct migration *m, const struct shape *shape)
{
	static const char *const names[] = {"pc.ram", "dimm1"};

	migration_init(m, shape->streams);
	for (unsigned int i = 0; i < shape->blocks; i++)
		migration_add(m, names[i], (i + 1) * GUEST_ODD_SIZE, RAM_PAGE_SIZE);
	for (unsigned int i = 0; i < shape->blocks && shape->dense; i++)
		memset(m->to.blocks[i].map, 0xdb, m->to.blocks[i].size);
	m->quiesce = shape->quiesce ? quiesce_at_once : NULL;
	migration_start(m);
	migration_expect_stale(m);
}

/* The guest writes, and is stopped between the two stale rounds. */
static void switch_over(struct migration *m, const struct shape *shape)
{
	struct guest g = {.ram = &m->from};

	cr_assert_eq(pthread_create(&g.thread, NULL, guest_main, &g), 0);
	for (unsigned int i = 0; i < shape->rounds; i++) {
		await_writes(&g, 500);
		migration_round(m, SOURCE_ROUND_LIVE);
	}
	await_writes(&g, 500);
	cr_expect_gt(migration_round(m, SOURCE_ROUND_STALE), 0);
	await_writes(&g, 500);
	atomic_store(&g.stop, true);
	pthread_join(g.thread, NULL);
	migration_round(m, SOURCE_ROUND_STALE_LAST);
}

/* What the migration leaves, in the hands of post-copy. */
static void adopt(struct postcopy *p, struct migration *m)
{
	migration_stop(m);
	postcopy_init_empty(p);
	p->from = m->from;
	p->to = m->to;
	p->owed = m->owed;
	p->owed_fd = m->owed_fd;
	destination_destroy(m->destination);
	postcopy_start_destination(p, true);
}

/* Through the guest's mapping. */
static void expect_guest_equal(const struct postcopy *p)
{
	for (unsigned int i = 0; i < p->from.count; i++) {
		const struct ram_block *from = &p->from.blocks[i], *to = &p->to.blocks[i];

		for (uint64_t page = 0; page < ram_block_pages(from); page++)
			if (memcmp(guest_page(from, page), guest_page(to, page), RAM_PAGE_SIZE))
				cr_assert_fail("block %s: page %llu differs", from->name,
					       (unsigned long long)page);
	}
}

ParameterizedTestParameters(stale, from_the_first_round_to_the_last_page)
{
	return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}

ParameterizedTest(struct shape *shape, stale, from_the_first_round_to_the_last_page)
{
	struct migration m;
	struct postcopy p;

	start_shape(&m, shape);
	switch_over(&m, shape);
	cr_assert_gt(migration_expect_equal_or_owed(&m), 0);
	adopt(&p, &m);
	postcopy_begin(&p);
	postcopy_connect(&p);
	expect_guest_equal(&p);
	postcopy_await_complete(&p);
	expect_guest_equal(&p);
	postcopy_end(&p);
}
