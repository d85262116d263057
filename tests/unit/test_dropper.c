// SPDX-License-Identifier: Apache-2.0
// Pages that streams gather, and who has them dropped.
#include "dropper.h"

#include <pthread.h>
#include <stdatomic.h>
#include "missing.h"
#include "postcopy.h"
#include "ram_private.h"

#define PAGES 1024u
#define STREAMS 8u

TestSuite(dropper, .timeout = 30);

struct fixture {
	struct ram_map ram;
	struct ram_block *b;
	int uffd;
	struct dropper *dropper;
	atomic_uint calls, ranges, inside;
	int result; /* of the next ones */
};

/* As QEMU does it. */
static int drop(void *opaque, const struct iovec *ranges, unsigned int n, struct errtext *err)
{
	struct fixture *f = opaque;

	cr_assert_eq(atomic_fetch_add(&f->inside, 1), 0, "one at a time");
	atomic_fetch_add(&f->calls, 1);
	atomic_fetch_add(&f->ranges, n);
	for (unsigned int i = 0; i < n; i++)
		cr_assert_eq(madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED), 0);
	atomic_fetch_sub(&f->inside, 1);
	return f->result < 0 ? errtext_set(err, f->result, "as the test wants it") : 0;
}

static void setup(struct fixture *f, bool tracked)
{
	struct dropper_options options = {.drop = drop, .opaque = f, .tracked = tracked};
	struct errtext err = {0};

	*f = (struct fixture){0};
	f->uffd = postcopy_userfaultfd(tracked ? MISSING_TRACKED_FEATURES : MISSING_FEATURES);
	options.uffd = f->uffd;
	guest_ram_add_private(&f->ram, "pc.ram", PAGES << RAM_PAGE_SHIFT);
	f->b = &f->ram.blocks[0];
	for (uint64_t page = 0; page < PAGES; page++)
		guest_write(f->b, page, page);
	cr_assert_eq(missing_register(f->uffd, &f->ram, tracked, &err), 0, "%s", err.text);
	cr_assert_eq(dropper_new(&options, &f->dropper, &err), 0, "%s", err.text);
}

static void teardown(struct fixture *f)
{
	dropper_destroy(f->dropper);
	close(f->uffd);
	guest_ram_destroy(&f->ram);
}

static void add(struct fixture *f, uint64_t first, uint64_t count)
{
	cr_assert_eq(dropper_add(f->dropper, f->b, first, count, NULL), 0);
}

static void flush(struct fixture *f)
{
	struct errtext err = {0};

	cr_assert_eq(dropper_flush(f->dropper, &err), 0, "%s", err.text);
}

static void expect(const struct fixture *f, uint64_t first, uint64_t count, bool there)
{
	bool has[PAGES];

	cr_assert_eq(ram_private_has(f->b, first, count, has), 0);
	for (uint64_t i = 0; i < count; i++)
		cr_assert_eq(has[i], there, "page %llu", (unsigned long long)(first + i));
}

Test(dropper, what_was_added_goes_with_the_next_flush)
{
	struct fixture f;

	setup(&f, false);
	flush(&f);
	cr_assert_eq(f.calls, 0, "nothing to do");
	add(&f, 3, 5);
	add(&f, 8, 0);
	add(&f, 8, 2); /* goes on where the other ended */
	add(&f, 100, 1);
	expect(&f, 0, PAGES, true);
	flush(&f);
	flush(&f);
	cr_assert_eq(f.calls, 1);
	cr_assert_eq(f.ranges, 2);
	expect(&f, 0, 3, true);
	expect(&f, 3, 7, false);
	expect(&f, 10, 90, true);
	expect(&f, 100, 1, false);
	add(&f, 101, 1);
	flush(&f);
	expect(&f, 100, 2, false);
	add(&f, 200, 1); /* and no flush */
	teardown(&f);
}

/* That they are filled then is not to be written. */
Test(dropper, dropped_pages_are_protected_again)
{
	uint8_t content[RAM_PAGE_SIZE];
	struct wire_run runs[TRACKER_RUNS_MAX];
	struct tracker *tracker;
	struct errtext err = {0};
	struct fixture f;

	setup(&f, true);
	add(&f, 10, 2);
	flush(&f);
	guest_fill(content, 5);
	cr_assert_eq(missing_copy(f.uffd, f.b, 10, 1, content, true, &err), 0, "%s", err.text);
	cr_assert_eq(tracker_new(dup(f.uffd), getpid(), &f.ram, &tracker, &err), 0, "%s", err.text);
	cr_assert_eq(tracker_collect(tracker, 0, 0, PAGES, false, runs), 0);
	guest_write(f.b, 10, 7);
	cr_assert_eq(tracker_collect(tracker, 0, 0, PAGES, false, runs), 1);
	cr_assert_eq(runs[0].first, 10);
	tracker_destroy(tracker);
	teardown(&f);
}

struct stream {
	struct fixture *f;
	uint64_t first;
	pthread_t thread;
};

static void *run_stream(void *arg)
{
	struct stream *s = arg;

	for (uint64_t page = s->first; page < PAGES; page += 2 * STREAMS) {
		add(s->f, page, 1);
		flush(s->f);
		expect(s->f, page, 1, false);
	}
	return NULL;
}

Test(dropper, each_stream_finds_its_own_gone)
{
	struct stream streams[STREAMS];
	struct fixture f;

	setup(&f, false);
	for (unsigned int i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream){.f = &f, .first = 2 * i};
		cr_assert_eq(pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]), 0);
	}
	for (unsigned int i = 0; i < STREAMS; i++)
		pthread_join(streams[i].thread, NULL);
	cr_assert_eq(f.ranges, PAGES / 2);
	for (uint64_t page = 0; page < PAGES; page++)
		expect(&f, page, 1, page % 2);
	teardown(&f);
}

/* A peer may name the same pages for ever and never end its round. */
Test(dropper, only_so_many_ranges_wait_for_a_flush)
{
	struct fixture f;

	setup(&f, false);
	for (unsigned int i = 0; i < 100000; i++)
		add(&f, i % 2 ? 5 : 3, 1);
	cr_assert_eq(f.calls, 1);
	cr_assert_eq(f.ranges, 65536);
	flush(&f);
	cr_assert_eq(f.ranges, 100000);
	expect(&f, 3, 1, false);
	expect(&f, 4, 1, true);
	teardown(&f);
}

Test(dropper, what_has_failed_once_stays_so)
{
	struct errtext err = {0};
	struct fixture f;

	setup(&f, false);
	f.result = -EBUSY;
	add(&f, 1, 1);
	cr_assert_eq(dropper_flush(f.dropper, &err), -EBUSY);
	cr_assert_str_eq(err.text, "as the test wants it");
	f.result = 0;
	err = (struct errtext){0};
	add(&f, 2, 1);
	cr_assert_eq(dropper_flush(f.dropper, &err), -EBUSY);
	cr_assert_str_eq(err.text, "as the test wants it");
	cr_assert_eq(f.calls, 1);
	teardown(&f);
}
