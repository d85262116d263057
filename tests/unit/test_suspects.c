// SPDX-License-Identifier: Apache-2.0
// Rounds of source.c that do not wait for disk reads in flight, which land in memory unseen by the
// tracker: whatever lands when, both sides hold the same after the last round.
#include "source.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <liburing.h>
#include <stdatomic.h>
#include "migration.h"

#define GRANULE TRACKER_GRANULE_PAGES

/* Emulated, as by tests/kernels, the readers take a minute and more. */
TestSuite(suspects, .timeout = 240);

/* ---- one read ---- */

enum kind { SMALL, HUGE_PAGES, PRIVATE };

struct disk {
	bool settles; /* says quiesce, rightly or not */
	unsigned int calls;
	struct io_uring ring; /* of a read into private memory */
	uint8_t content[RAM_PAGE_SIZE];
};

static int settle_or_not(void *opaque, bool *settled, struct errtext *err)
{
	struct migration *m = opaque;
	struct disk *disk = m->test;

	(void)err;
	disk->calls++;
	*settled = disk->settles;
	return 0;
}

static void start(struct migration *m, struct disk *disk, enum kind kind, unsigned int streams)
{
	*disk = (struct disk){0};
	migration_init(m, streams);
	if (kind == PRIVATE)
		migration_add_private(m, "ram", 3ull * GRANULE << RAM_PAGE_SHIFT);
	else
		migration_add(m, "ram", 3ull * GRANULE << RAM_PAGE_SHIFT,
			      kind == HUGE_PAGES ? GUEST_HUGE_SIZE : RAM_PAGE_SIZE);
	for (uint64_t i = 0; i < 3ull * GRANULE; i += 3)
		guest_write(&m->from.blocks[0], i, i + 1);
	m->quiesce = settle_or_not;
	m->test = disk;
	migration_start(m);
}

/* The page is marked, and pinned where it is private. */
static void read_begins(struct migration *m, uint64_t page)
{
	struct disk *disk = m->test;
	uint8_t *at = guest_page(&m->from.blocks[0], page);
	struct iovec iov = {at, RAM_PAGE_SIZE};

	*(volatile uint8_t *)at = *at;
	if (!ram_block_is_private(&m->from.blocks[0]))
		return;
	if (io_uring_queue_init(2, &disk->ring, 0) < 0)
		cr_skip_test("this kernel has no io_uring to pin a page with");
	cr_assert_eq(io_uring_register_buffers(&disk->ring, &iov, 1), 0);
}

/* As by DMA: nobody sees it. */
static void read_lands(struct migration *m, uint64_t page, uint64_t seed)
{
	struct ram_block *b = &m->from.blocks[0];
	struct disk *disk = m->test;
	struct io_uring_cqe *cqe;
	int pair[2];

	if (!ram_block_is_private(b)) {
		guest_fill(b->map + (page << RAM_PAGE_SHIFT), seed);
		return;
	}
	guest_fill(disk->content, seed);
	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	cr_assert_eq(write(pair[1], disk->content, RAM_PAGE_SIZE), RAM_PAGE_SIZE);
	io_uring_prep_read_fixed(io_uring_get_sqe(&disk->ring), pair[0], guest_page(b, page),
				 RAM_PAGE_SIZE, 0, 0);
	cr_assert_eq(io_uring_submit(&disk->ring), 1);
	cr_assert_eq(io_uring_wait_cqe(&disk->ring, &cqe), 0);
	cr_assert_eq(cqe->res, RAM_PAGE_SIZE);
	io_uring_queue_exit(&disk->ring);
	close(pair[0]);
	close(pair[1]);
}

static bool is_equal(const struct migration *m, uint64_t page)
{
	uint8_t here[RAM_PAGE_SIZE], there[RAM_PAGE_SIZE];

	migration_read(&m->from.blocks[0], page, here);
	migration_read(&m->to.blocks[0], page, there);
	return memcmp(here, there, RAM_PAGE_SIZE) == 0;
}

static uint64_t resent(const struct migration *m)
{
	struct source_stats stats;

	source_stats(m->source, &stats);
	return stats.pages_resent;
}

struct shape {
	enum kind kind;
	unsigned int streams;
	uint64_t page; /* 9 has data, 10 is zero before */
};

static struct shape shapes[] = {
	{SMALL, 1, 9},	     {SMALL, 3, 9},   {SMALL, 3, 10},	{HUGE_PAGES, 1, 9},
	{HUGE_PAGES, 3, 10}, {PRIVATE, 1, 9}, {PRIVATE, 3, 10},
};

#define SHAPES sizeof(shapes) / sizeof(shapes[0])

ParameterizedTestParameters(suspects, go_again_in_the_last_round)
{
	return cr_make_param_array(struct shape, shapes, SHAPES);
}

ParameterizedTest(struct shape *shape, suspects, go_again_in_the_last_round)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, shape->kind, shape->streams);
	read_begins(&m, shape->page);
	cr_assert_geq(migration_round(&m, SOURCE_ROUND_LIVE), GRANULE);
	cr_assert(m.last.suspect);
	cr_assert_geq(m.last.suspects, GRANULE);
	read_lands(&m, shape->page, 4711);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0, "nobody has seen it");
	cr_assert_not(is_equal(&m, shape->page));
	cr_assert_geq(m.last.suspects, GRANULE);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 1, "the others are as they were");
	cr_assert_not(m.last.suspect);
	cr_assert_eq(m.last.suspects, 0);
	cr_assert_eq(resent(&m), 1);
	migration_expect_equal(&m);
	migration_end(&m);
}

ParameterizedTestParameters(suspects, go_again_in_a_settled_round)
{
	return cr_make_param_array(struct shape, shapes, SHAPES);
}

ParameterizedTest(struct shape *shape, suspects, go_again_in_a_settled_round)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, shape->kind, shape->streams);
	read_begins(&m, shape->page);
	migration_round(&m, SOURCE_ROUND_LIVE);
	read_lands(&m, shape->page, 4711);
	disk.settles = true;
	guest_write(&m.from.blocks[0], 2 * GRANULE, 12);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 2);
	cr_assert_not(m.last.suspect);
	cr_assert_eq(m.last.suspects, 0);
	cr_assert_eq(resent(&m), 1, "the other one was written");
	migration_expect_equal(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LAST), 0);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* That this can be seen here at all. */
Test(suspects, that_nobody_looks_at_again_are_lost)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, SMALL, 1);
	disk.settles = true;
	read_begins(&m, 9);
	migration_round(&m, SOURCE_ROUND_LIVE);
	read_lands(&m, 9, 4711);
	migration_round(&m, SOURCE_ROUND_LIVE);
	migration_round(&m, SOURCE_ROUND_LAST);
	cr_assert_not(is_equal(&m, 9));
	migration_end(&m);
}

/* ---- what is sent is what was hashed ---- */

/* It lands after the page was looked at, before it is read to be sent. */
static void land_once(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	if (n < 2)
		return;
	m->pipe[0].hook = NULL;
	read_lands(m, 9, 4711);
}

static enum kind mapped[] = {SMALL, HUGE_PAGES};

ParameterizedTestParameters(suspects, with_what_they_had_before_once_more)
{
	return cr_make_param_array(enum kind, mapped, 2);
}

ParameterizedTest(enum kind *kind, suspects, with_what_they_had_before_once_more)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, *kind, 1);
	read_begins(&m, 9);
	m.pipe[0].hook = land_once;
	m.pipe[0].opaque = &m;
	migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_null(m.pipe[0].hook);
	read_begins(&m, 9); /* another, which brings what was there before the first */
	read_lands(&m, 9, 10);
	migration_round(&m, SOURCE_ROUND_LIVE);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	migration_end(&m);
}

/* A hash that is not of what went last would keep a page from going. */
Test(suspects, sent_in_a_settled_round_have_no_hash)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, SMALL, 1);
	migration_round(&m, SOURCE_ROUND_LIVE);
	disk.settles = true;
	guest_write(&m.from.blocks[0], 9, 4711);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1);
	guest_write(&m.from.blocks[0], 9, 10);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 1, "as it was in the first round");
	migration_expect_equal(&m);
	migration_end(&m);
}

/* ---- other ends ---- */

Test(suspects, are_stale_in_postcopy)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, SMALL, 3);
	read_begins(&m, 9);
	migration_round(&m, SOURCE_ROUND_LIVE);
	disk.settles = true;
	migration_round(&m, SOURCE_ROUND_LIVE);
	disk.settles = false;
	read_begins(&m, 9);
	read_begins(&m, 12);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_LIVE), 0, "both are as they were");
	read_lands(&m, 9, 4711);
	read_lands(&m, 12, 4712);
	migration_expect_stale(&m);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE), 2);
	cr_assert_eq(m.last.suspects, 0);
	cr_assert_eq(migration_round(&m, SOURCE_ROUND_STALE_LAST), 0);
	cr_assert_eq(migration_expect_equal_or_owed(&m), 2);
	migration_end(&m);
}

static void hurry_at_first_data(void *opaque, const struct iovec *iov, unsigned int n)
{
	struct migration *m = opaque;

	(void)iov;
	if (n > 1)
		source_hurry(m->source);
}

Test(suspects, of_a_round_cut_short)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, SMALL, 1);
	m.pipe[0].hook = hurry_at_first_data;
	m.pipe[0].opaque = &m;
	read_begins(&m, 9);
	read_begins(&m, 2 * GRANULE + 9);
	cr_assert_lt(migration_round(&m, SOURCE_ROUND_LIVE), GRANULE);
	cr_assert_gt(m.last.suspects, 0);
	cr_assert_lt(m.last.suspects, 3 * GRANULE);
	migration_round(&m, SOURCE_ROUND_LIVE);
	cr_assert_eq(disk.calls, 1);
	read_lands(&m, 9, 4711);
	read_lands(&m, 2 * GRANULE + 9, 4712);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	migration_end(&m);
}

Test(suspects, that_were_punched_are_holes)
{
	struct disk disk;
	struct migration m;

	start(&m, &disk, SMALL, 1);
	migration_round(&m, SOURCE_ROUND_LIVE);
	guest_punch(&m.from.blocks[0], 0, GRANULE);
	migration_round(&m, SOURCE_ROUND_LAST);
	migration_expect_equal(&m);
	cr_assert_eq(guest_allocated(&m.to.blocks[0]), guest_allocated(&m.from.blocks[0]));
	migration_end(&m);
}

/* ---- whatever is read and written meanwhile ---- */

#define READERS 3

struct reader {
	struct storage *storage;
	uint64_t seed;
	pthread_t thread;
	atomic_uint begun, landed;
};

struct storage {
	const struct ram_map *ram;
	uint8_t *device[2]; /* by which it writes a block: neither the guest's mapping nor dray's */
	struct reader reader[READERS];
	atomic_bool stop;
	uint64_t choice; /* of whoever quiesces */
};

/* Of its own: two that write one page at the same time are another matter. */
static uint64_t choose_page(const struct reader *r, const struct ram_block *b, uint64_t *state)
{
	uint64_t index = (uint64_t)(r - r->storage->reader);

	return guest_random(state) % (ram_block_pages(b) / READERS) * READERS + index;
}

/* A read is in flight for as long as it takes the others to do something. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint64_t state = r->seed;

	while (!atomic_load(&r->storage->stop)) {
		const struct ram_map *ram = r->storage->ram;
		uint64_t block = guest_random(&state) % ram->count;
		const struct ram_block *b = &ram->blocks[block];
		uint64_t page = choose_page(r, b, &state);
		volatile uint8_t *at = guest_page(b, page);

		atomic_fetch_add(&r->begun, 1);
		*at = (uint8_t)state;
		for (uint64_t i = guest_random(&state) % 300; i > 0; i--)
			sched_yield();
		/* Few contents, so that one comes again. */
		guest_fill(r->storage->device[block] + (page << RAM_PAGE_SHIFT), 1 + state % 3);
		atomic_fetch_add(&r->landed, 1);
		if (state % 4 == 0)
			guest_write(b, choose_page(r, b, &state), 1 + state % 3);
	}
	return NULL;
}

/* Waits for what is in flight now, at times. */
static int wait_at_times(void *opaque, bool *settled, struct errtext *err)
{
	struct migration *m = opaque;
	struct storage *s = m->test;

	(void)err;
	*settled = guest_random(&s->choice) % 3 == 0;
	for (unsigned int i = 0; i < READERS && *settled; i++) {
		unsigned int begun = atomic_load(&s->reader[i].begun);

		while (atomic_load(&s->reader[i].landed) < begun)
			sched_yield();
	}
	return 0;
}

static void run_readers(struct migration *m, struct storage *s, int rounds)
{
	for (unsigned int i = 0; i < READERS; i++) {
		s->reader[i] = (struct reader){.storage = s, .seed = 88172645463325252u + i};
		cr_assert_eq(pthread_create(&s->reader[i].thread, NULL, reader_main, &s->reader[i]),
			     0);
	}
	for (int i = 0; i < rounds; i++) {
		unsigned int more = atomic_load(&s->reader[0].landed) + 20;

		while (atomic_load(&s->reader[0].landed) < more)
			sched_yield();
		migration_round(m, SOURCE_ROUND_LIVE);
	}
	atomic_store(&s->stop, true);
	for (unsigned int i = 0; i < READERS; i++)
		pthread_join(s->reader[i].thread, NULL);
}

struct mix {
	unsigned int streams;
	uint32_t page_size;
};

static struct mix mixes[] = {{1, RAM_PAGE_SIZE}, {3, RAM_PAGE_SIZE}, {3, GUEST_HUGE_SIZE}};

ParameterizedTestParameters(suspects, all_is_equal_however_much_is_read)
{
	return cr_make_param_array(struct mix, mixes, 3);
}

ParameterizedTest(struct mix *mix, suspects, all_is_equal_however_much_is_read)
{
	for (uint64_t i = 1; i <= 10; i++) {
		struct storage storage = {.choice = i};
		struct migration m;

		migration_init(&m, mix->streams);
		migration_add(&m, "pc.ram", 2 * GUEST_HUGE_SIZE, mix->page_size);
		migration_add(&m, "dimm1", GUEST_HUGE_SIZE, mix->page_size);
		m.quiesce = wait_at_times;
		m.test = &storage;
		storage.ram = &m.from;
		for (unsigned int b = 0; b < 2; b++)
			storage.device[b] =
				guest_ram_mmap(m.from.blocks[b].fd, m.from.blocks[b].size);
		migration_start(&m);
		run_readers(&m, &storage, 8);
		migration_round(&m, SOURCE_ROUND_LAST);
		migration_expect_equal(&m);
		for (unsigned int b = 0; b < 2; b++)
			munmap(storage.device[b], m.from.blocks[b].size);
		migration_end(&m);
	}
}
