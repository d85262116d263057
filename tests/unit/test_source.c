// SPDX-License-Identifier: Apache-2.0
// RAM from source to destination through memory streams: whatever the guest does meanwhile, both
// hold the same after the last round.
#include "source.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdatomic.h>
#include "migration.h"

#define GRANULE TRACKER_GRANULE_PAGES

TestSuite(source, .timeout = 60);

static int quiesce_at_once(void *m, bool *settled, struct errtext *err)
{
	(void)m;
	(void)err;
	*settled = true;
	return 0;
}

static void start_one(struct migration *m, const char *name, uint64_t pages)
{
	migration_init(m, 1);
	migration_add(m, name, pages << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	migration_start(m);
}

/* ---- all of it ---- */

struct guest {
	const struct ram_map *ram;
	bool text; /* half of what it writes can be compressed */
	pthread_t thread;
	atomic_bool stop;
	atomic_uint writes; /* relaxed: only to see that it runs */
};

/* Mostly writes whole pages, and clears some. Does not punch: nobody promises anything of a page
 * that is punched while on its way. */
static void *guest_main(void *arg)
{
	struct guest *g = arg;
	uint64_t state = 88172645463325252u;

	while (!atomic_load(&g->stop)) {
		const struct ram_block *b = &g->ram->blocks[guest_random(&state) % g->ram->count];
		uint64_t page = guest_random(&state) % ram_block_pages(b);

		if (guest_random(&state) % 16 == 0)
			memset(guest_page(b, page), 0, RAM_PAGE_SIZE);
		else if (g->text && state >> 32 & 1)
			guest_write_text(b, page, state);
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
	unsigned int streams, blocks;
	bool quiesce, private;
	enum compression_kind compression;
};

static struct shape shapes[] = {
	{1, 1, false, false, COMPRESSION_NONE}, {3, 1, false, false, COMPRESSION_NONE},
	{1, 2, false, false, COMPRESSION_NONE}, {3, 2, false, false, COMPRESSION_NONE},
	{1, 2, true, false, COMPRESSION_NONE},	{3, 2, true, false, COMPRESSION_NONE},
	{1, 1, false, true, COMPRESSION_NONE},	{3, 2, false, true, COMPRESSION_NONE},
	{3, 2, true, true, COMPRESSION_NONE},	{3, 2, false, false, COMPRESSION_ZSTD},
	{3, 2, true, false, COMPRESSION_ZSTD},	{3, 2, true, true, COMPRESSION_ZSTD},
	{3, 2, true, false, COMPRESSION_AUTO},
};

ParameterizedTestParameters(source, all_is_equal_however_much_is_written)
{
	return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}

ParameterizedTest(struct shape *shape, source, all_is_equal_however_much_is_written)
{
	static const char *const names[] = {"pc.ram", "dimm1"};
	struct migration m;
	struct guest g = {.ram = &m.from, .text = shape->compression != COMPRESSION_NONE};

	migration_init(&m, shape->streams);
	m.compression = (struct compression){shape->compression, 1};
	for (unsigned int i = 0; i < shape->blocks; i++)
		if (shape->private)
			migration_add_private(&m, names[i], (i + 1) * GUEST_ODD_SIZE);
		else
			migration_add(&m, names[i], (i + 1) * GUEST_ODD_SIZE, RAM_PAGE_SIZE);
	m.quiesce = shape->quiesce ? quiesce_at_once : NULL;
	migration_start(&m);
	cr_assert_eq(pthread_create(&g.thread, NULL, guest_main, &g), 0);
	for (int i = 0; i < 4; i++) {
		await_writes(&g, 500);
		cr_expect_gt(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	}
	atomic_store(&g.stop, true);
	pthread_join(g.thread, NULL);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, what_can_be_compressed_is)
{
	struct source_stats stats;
	struct migration m;
	struct ram_block *b;

	migration_init(&m, 1);
	m.compression = (struct compression){COMPRESSION_ZSTD, 1};
	migration_add(&m, "pc.ram", GRANULE << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	migration_start(&m);
	b = &m.from.blocks[0];
	for (uint64_t page = 0; page < 130; page++)
		guest_write_text(b, page, page + 1);
	for (uint64_t page = 192; page < 256; page++)
		guest_write(b, page, page);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 194);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.compressed.pages, 130);
	cr_assert_gt(stats.compressed.bytes, 0);
	cr_assert_lt(stats.compressed.bytes, 32 * RAM_PAGE_SIZE);
	cr_assert_lt(m.pipe[0].bytes, 110 * RAM_PAGE_SIZE);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, a_round_sends_what_was_written_since_the_last)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, "pc.ram", 3 * GRANULE + 3);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 20; i++)
		guest_write(b, i * 150, i);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 20);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	guest_write(b, 150, 100);
	guest_write(b, 3 * GRANULE + 2, 101);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 2);
	guest_write(b, 2 * GRANULE, 102);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* ---- private memory ---- */

static void start_private(struct migration *m, uint64_t pages)
{
	migration_init(m, 1);
	migration_add_private(m, "pc.ram", pages << RAM_PAGE_SHIFT);
	/* Where the kernel gives them to all, as Debian's does, a write brings 512 pages. */
	madvise(guest_page(&m->from.blocks[0], 0), m->from.blocks[0].size, MADV_NOHUGEPAGE);
}

/* Pages that are present (Documentation/admin-guide/mm/pagemap.rst). */
static unsigned int resident(const struct ram_block *b)
{
	_cleanup_free_ uint64_t *entries = calloc(ram_block_pages(b), sizeof(*entries));
	size_t size = ram_block_pages(b) * sizeof(*entries);
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned int count = 0;

	cr_assert_eq(pread(fd, entries, size,
			   (off_t)((b->qemu_addr >> RAM_PAGE_SHIFT) * sizeof(*entries))),
		     (ssize_t)size);
	for (uint64_t i = 0; i < ram_block_pages(b); i++)
		count += entries[i] >> 63;
	return count;
}

Test(source, of_private_memory_only_what_is_used_is_read)
{
	const uint64_t pages = 8 * GRANULE + 3;
	struct source_stats stats;
	struct migration m;
	struct ram_block *b;

	start_private(&m, pages);
	b = &m.from.blocks[0];
	guest_write(b, 5, 1);
	guest_write(b, 6 * GRANULE, 2);
	guest_write(b, pages - 1, 3);
	cr_assert_eq(*(volatile uint64_t *)guest_page(b, 7), 0); /* read, never written */
	migration_start(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 3);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.pages_zero, pages - 3);
	cr_assert_leq(resident(b), 4, "no other page was read");
	guest_write(b, 3 * GRANULE, 4);
	guest_write(b, 5, 5);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 2);
	memset(guest_page(b, 5), 0, RAM_PAGE_SIZE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 0);
	migration_expect_equal(&m);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 3, "the zeroed page is a hole there");
	migration_end(&m);
}

/* What a balloon does. */
Test(source, private_memory_that_was_given_back_is_zero)
{
	struct migration m;
	struct ram_block *b;

	start_private(&m, 2 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 100; i++)
		guest_write(b, i, i);
	migration_start(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 100);
	cr_assert_eq(madvise(guest_page(b, 10), 20 * RAM_PAGE_SIZE, MADV_DONTNEED), 0);
	migration_round(&m, SOURCE_ROUND_LIVE);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 80);
	migration_end(&m);
}

/* A check sends nothing, not even that it is over. Pages found written. */
static uint64_t last_look(struct migration *m)
{
	uint64_t pages;

	migration_begin_round(m, SOURCE_ROUND_CHECK);
	pthread_mutex_lock(&m->lock);
	while (m->done < m->started)
		pthread_cond_wait(&m->changed, &m->lock);
	cr_assert_eq(m->last.result, 0, "%s", m->last.err.text);
	pages = m->last.pages;
	pthread_mutex_unlock(&m->lock);
	return pages;
}

static void give_back_a_huge_page(bool huge)
{
	struct migration m;
	struct ram_block *b;
	uint64_t at;

	start_private(&m, 4 * GRANULE);
	b = &m.from.blocks[0];
	/* The first page of a range that could be a huge page. */
	at = ((GUEST_HUGE_SIZE - b->qemu_addr % GUEST_HUGE_SIZE) % GUEST_HUGE_SIZE) >>
	     RAM_PAGE_SHIFT;
	madvise(guest_page(b, 0), b->size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < GUEST_HUGE_SIZE / RAM_PAGE_SIZE; i++)
		guest_write(b, at + i, i);
	migration_start(&m);
	migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_eq(madvise(guest_page(b, at), GUEST_HUGE_SIZE, MADV_DONTNEED), 0);
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_write(b, at + 7, 8);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1);
	cr_assert_eq(last_look(&m), 0);
	migration_expect_equal(&m);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 1);
	migration_end(&m);
}

Test(source, a_huge_page_of_private_memory_that_was_given_back_is_zero)
{
	give_back_a_huge_page(true);
}

Test(source, small_pages_given_back_with_their_page_table_are_zero)
{
	give_back_a_huge_page(false);
}

/* In the stop nothing may be left that looks as if it had been written. */
Test(source, private_memory_can_be_looked_at_first_in_the_stop)
{
	struct migration m;
	struct ram_block *b;

	start_private(&m, 4 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 4 * GRANULE; i += 5)
		guest_write(b, i, i);
	migration_start(&m);
	migration_round(&m, SOURCE_ROUND_LAST);
	cr_assert_eq(last_look(&m), 0);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* To be read gives a hole of a shared file memory, but no content. */
Test(source, a_last_look_takes_no_reading_for_writing)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, "pc.ram", 4 * GRANULE);
	b = &m.from.blocks[0];
	guest_write(b, 5, 1);
	migration_round(&m, SOURCE_ROUND_LAST);
	for (uint64_t page = 2 * GRANULE; page < 3 * GRANULE; page += 3)
		cr_assert_eq(*(volatile uint64_t *)guest_page(b, page), 0);
	cr_assert_eq(last_look(&m), 0);
	guest_write(b, 3 * GRANULE + 1, 2);
	guest_write(b, 6, 2);
	cr_assert_eq(last_look(&m), 2, "but what is written is found");
	migration_end(&m);
}

static void *touch_main(void *arg)
{
	struct guest *g = arg;
	const struct ram_block *b = &g->ram->blocks[0];

	for (uint64_t page = 0; page < ram_block_pages(b); page++)
		guest_page(b, page)[page % RAM_PAGE_SIZE] = 1;
	return NULL;
}

/* Where there is no page table the kernel looks at a range, and protects it, in two steps. */
Test(source, private_memory_that_is_touched_for_the_first_time_meanwhile)
{
	for (int i = 0; i < 10; i++) {
		struct migration m;
		struct guest g = {.ram = &m.from};

		start_private(&m, 16 * GRANULE);
		migration_start(&m);
		cr_assert_eq(pthread_create(&g.thread, NULL, touch_main, &g), 0);
		migration_round(&m, SOURCE_ROUND_LIVE);
		pthread_join(g.thread, NULL);
		migration_round(&m, SOURCE_ROUND_LAST);
		migration_expect_equal(&m);
		migration_end(&m);
	}
}

/* More runs than go in a frame, and zeroes between pages with data. */
Test(source, private_memory_in_small_pieces)
{
	struct migration m;
	struct ram_block *b;

	start_private(&m, 4 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 4 * GRANULE; i++)
		if (i % 3 == 0)
			guest_write(b, i, i);
		else if (i % 3 == 1)
			guest_page(b, i)[17] = 0;
	migration_start(&m);
	migration_round(&m, SOURCE_ROUND_LIVE);
	for (uint64_t i = 0; i < 4 * GRANULE; i += 2)
		guest_write(b, i, i + 1);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* ---- holes and zeroes ---- */

Test(source, holes_stay_holes_on_both_sides)
{
	const uint64_t pages = 8 * GRANULE;
	struct source_stats stats;
	struct migration m;

	start_one(&m, "pc.ram", pages);
	guest_write(&m.from.blocks[0], 5, 1);
	guest_write(&m.from.blocks[0], 6 * GRANULE, 2);
	guest_write(&m.from.blocks[0], pages - 1, 3);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 3);
	migration_round(&m, SOURCE_ROUND_LAST);
	cr_assert_eq(guest_allocated(&m.from.blocks[0]), 3);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 3);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.pages_sent, 3);
	cr_assert_eq(stats.pages_zero, pages - 3);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, what_is_punched_between_rounds_becomes_a_hole)
{
	struct migration m;
	struct ram_block *b;

	start_one(&m, "pc.ram", 3 * GRANULE);
	b = &m.from.blocks[0];
	for (uint64_t i = 0; i < 3 * GRANULE; i++)
		guest_write(b, i, i + 1);
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_punch(b, 10, 20);
	guest_punch(b, GRANULE, GRANULE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	cr_assert_eq(guest_allocated(b), 2 * GRANULE - 20);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), 2 * GRANULE - 20);
	migration_expect_equal(&m);
	guest_write(b, 15, 1000);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, zero_pages_travel_without_data)
{
	struct source_stats stats;
	struct migration m;

	start_one(&m, "pc.ram", GRANULE);
	for (uint64_t i = 0; i < GRANULE; i++)
		guest_write(&m.from.blocks[0], i, i + 1);
	migration_round(&m, SOURCE_ROUND_LIVE);
	memset(guest_page(&m.from.blocks[0], 100), 0, 50 * RAM_PAGE_SIZE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), GRANULE - 50);
	memset(guest_page(&m.from.blocks[0], 100), 0, 50 * RAM_PAGE_SIZE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 0);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.pages_sent, GRANULE);
	cr_assert_eq(stats.pages_zero, 50);
	cr_assert_eq(stats.pages_skipped, 50, "zero as before");
	migration_expect_equal(&m);
	migration_end(&m);
}

/* As if QEMU had preallocated it there, and left its own traces. */
static void dirty_destination(struct migration *m)
{
	for (unsigned int i = 0; i < m->to.count; i++)
		for (uint64_t page = 0; page < ram_block_pages(&m->to.blocks[i]); page++)
			memset(m->to.blocks[i].map + (page << RAM_PAGE_SHIFT), 0xdb, RAM_PAGE_SIZE);
}

Test(source, what_the_destination_had_is_gone)
{
	struct migration m;

	migration_init(&m, 1);
	migration_add(&m, "pc.ram", GUEST_ODD_SIZE, RAM_PAGE_SIZE);
	dirty_destination(&m);
	migration_start(&m);
	guest_write(&m.from.blocks[0], 7, 1);
	memset(guest_page(&m.from.blocks[0], 8), 0, RAM_PAGE_SIZE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* ---- huge pages ---- */

static void start_huge(struct migration *m)
{
	migration_init(m, 1);
	migration_add(m, "huge", 4 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	for (uint64_t i = 0; i < ram_block_pages(&m->from.blocks[0]); i++)
		guest_write(&m->from.blocks[0], i, i + 1);
	migration_start(m);
}

Test(source, of_a_huge_page_only_what_changed_travels)
{
	struct source_stats stats;
	struct migration m;
	struct ram_block *b;

	start_huge(&m);
	b = &m.from.blocks[0];
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 2048);
	migration_expect_equal(&m);
	guest_write(b, 700, 701); /* the same again */
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	source_stats(m.source, &stats);
	cr_assert_eq(stats.pages_skipped, 512);
	guest_page(b, 700)[100] ^= 1;
	memset(guest_page(b, 701), 0, RAM_PAGE_SIZE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	migration_expect_equal(&m);
	guest_write(b, 701, 702);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* The page changes after it was hashed, before it is read. */
static void overwrite_once(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	if (n < 2 || !m->test)
		return;
	guest_write(m->test, 3, 999);
	m->test = NULL;
}

static void race_with_the_sending(int (*quiesce)(void *m, bool *settled, struct errtext *err))
{
	struct migration m;
	struct ram_block *b;

	migration_init(&m, 1);
	m.quiesce = quiesce;
	migration_add(&m, "huge", 2 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	b = &m.from.blocks[0];
	guest_write(b, 3, 1);
	m.test = b;
	m.pipe[0].hook = overwrite_once;
	m.pipe[0].opaque = &m;
	migration_start(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	cr_assert_null(m.test, "the write has happened");
	guest_write(b, 3, 1); /* what was hashed, but is not what was sent */
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, a_write_that_races_with_the_sending_is_not_lost)
{
	race_with_the_sending(NULL);
}

Test(source, a_write_that_races_with_the_sending_is_not_lost_after_quiescing_either)
{
	race_with_the_sending(quiesce_at_once);
}

/* ---- disk reads in flight ---- */

struct disk {
	unsigned int calls;
	uint64_t sends;	 /* before the first call of the round */
	int unprotected; /* runs that were not collected when it was called */
	int result;
};

/* The end of a read into page 9, by DMA: nobody sees it. */
static int finish_disk_read(void *opaque, bool *settled, struct errtext *err)
{
	struct migration *m = opaque;
	struct disk *disk = m->test;
	static struct wire_run runs[TRACKER_RUNS_MAX];

	disk->calls++;
	for (unsigned int i = 0; i < m->streams; i++)
		disk->sends += memory_pipe_sends(&m->pipe[i]);
	for (uint64_t at = 0; at < 3 * GRANULE; at += GRANULE)
		disk->unprotected += tracker_collect(m->tracker, 0, at, GRANULE, false, runs);
	guest_fill(m->from.blocks[0].map + 9 * RAM_PAGE_SIZE, 4711);
	*settled = true;
	return disk->result < 0 ? errtext_set(err, disk->result, "the disk is stuck") : 0;
}

static void start_with_disk(struct migration *m, struct disk *disk, bool deaf)
{
	migration_init(m, 3);
	migration_add(m, "pc.ram", 3ull * GRANULE << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	for (uint64_t i = 0; i < 3; i++)
		guest_write(&m->from.blocks[0], i * GRANULE + 9, i + 1);
	m->quiesce = finish_disk_read;
	m->test = disk;
	m->deaf = deaf;
	migration_start(m);
}

Test(source, quiesce_comes_once_after_all_collecting_and_before_any_sending)
{
	struct disk disk = {0};
	struct migration m;

	start_with_disk(&m, &disk, false);
	migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_eq(disk.calls, 1);
	cr_assert_eq(disk.sends, 0);
	cr_assert_eq(disk.unprotected, 0);
	migration_expect_equal(&m);
	migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_eq(disk.calls, 2);
	cr_assert_eq(disk.unprotected, 0);
	migration_round(&m, SOURCE_ROUND_LAST);
	cr_assert_eq(disk.calls, 2, "the guest has stopped");
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(source, a_failed_quiesce_fails_the_round_with_its_text)
{
	for (int i = 0; i < 20; i++) { /* whichever worker reports first */
		struct disk disk = {.result = -EIO};
		struct source_round round;
		struct migration m;

		start_with_disk(&m, &disk, true);
		migration_begin_round(&m, SOURCE_ROUND_LIVE);
		round = migration_await_round(&m);
		cr_assert_eq(round.result, -EIO);
		cr_assert_str_eq(round.err.text, "the disk is stuck");
		cr_assert_eq(round.pages, 0);
		cr_assert_eq(disk.calls, 1);
		migration_end(&m);
	}
}

/* ---- hurry ---- */

static void hurry_at_first_data(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	if (n > 1)
		source_hurry(m->source);
}

static struct shape hurried[] = {{1, 1, false}, {1, 1, true}};

ParameterizedTestParameters(source, hurry_leaves_the_rest_to_the_last_round)
{
	return cr_make_param_array(struct shape, hurried, 2);
}

/* In the first round, and with a destination that is not empty: the hardest case. */
ParameterizedTest(struct shape *shape, source, hurry_leaves_the_rest_to_the_last_round)
{
	const uint64_t granules = 6, used = granules * GRANULE / 8;
	struct migration m;
	uint64_t first;

	migration_init(&m, shape->streams);
	migration_add(&m, "pc.ram", granules * GRANULE << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	dirty_destination(&m);
	for (uint64_t i = 0; i < used; i++)
		guest_write(&m.from.blocks[0], i * 8, i + 1);
	m.pipe[0].hook = hurry_at_first_data;
	m.pipe[0].opaque = &m;
	m.quiesce = shape->quiesce ? quiesce_at_once : NULL;
	migration_start(&m);
	first = migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_gt(first, 0);
	cr_assert_lt(first, used, "the round has not ended early");
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), used - first);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* QEMU waits for its disks by itself then, and would answer late. */
Test(source, who_hurries_does_not_quiesce)
{
	struct disk disk = {0};
	struct migration m;

	start_with_disk(&m, &disk, false);
	source_hurry(m.source);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0);
	cr_assert_eq(disk.calls, 0);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 3);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* ---- the end of it ---- */

static void start_deaf(struct migration *m, unsigned int streams)
{
	migration_init(m, streams);
	migration_add(m, "pc.ram", (uint64_t)streams * GRANULE << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	for (uint64_t i = 0; i < streams * GRANULE; i++)
		guest_write(&m->from.blocks[0], i, i + 1);
	m->deaf = true;
}

Test(source, abort_wakes_whom_a_stream_blocks)
{
	struct migration m;

	start_deaf(&m, 3);
	migration_start(&m);
	migration_begin_round(&m, SOURCE_ROUND_LIVE);
	for (unsigned int i = 0; i < 3; i++)
		memory_pipe_await_blocked(&m.pipe[i]);
	source_abort(m.source);
	cr_assert_eq(migration_await_round(&m).result, -ECANCELED);
	migration_begin_round(&m, SOURCE_ROUND_LAST);
	cr_assert_eq(migration_await_round(&m).result, -ECANCELED, "so do all later ones");
	migration_end(&m);
}

Test(source, abort_before_a_round)
{
	struct disk disk = {0};
	struct migration m;

	start_with_disk(&m, &disk, true);
	source_abort(m.source);
	migration_begin_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_eq(migration_await_round(&m).result, -ECANCELED);
	cr_assert_eq(disk.calls, 0);
	migration_end(&m);
}

/* The stream that will break does not before the first one's worker is under way. */
static void await_first_blocked(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	(void)n;
	if (m->pipe[1].bytes == 0)
		memory_pipe_await_blocked(&m->pipe[0]);
}

/* Holds back whoever shuts stream 0 down until its worker has noticed. */
static void await_first_noticed(void *opaque)
{
	struct migration *m = opaque;

	memory_pipe_await_failed(&m->pipe[0]);
	for (int i = 0; i < 1000; i++)
		sched_yield();
}

Test(source, a_stream_that_breaks_is_reported_once_and_with_its_own_reason)
{
	struct source_round round;
	struct migration m;

	start_deaf(&m, 3);
	m.pipe[1].break_after = 100000;
	m.pipe[1].hook = await_first_blocked;
	m.pipe[1].opaque = &m;
	m.pipe[0].on_shutdown = await_first_noticed;
	m.pipe[0].opaque = &m;
	migration_start(&m);
	migration_begin_round(&m, SOURCE_ROUND_LIVE);
	round = migration_await_round(&m);
	cr_assert_eq(round.result, -EPIPE, "%d: %s", round.result, round.err.text);
	cr_assert(strstr(round.err.text, "RAM stream"), "%s", round.err.text);
	cr_assert(strstr(round.err.text, strerror(EPIPE)), "%s", round.err.text);
	migration_end(&m);
}

Test(source, destroy_while_idle_joins)
{
	struct migration m;

	start_one(&m, "pc.ram", 1);
	migration_end(&m);
}
