// SPDX-License-Identifier: Apache-2.0
// A migration inside one process: source, memory streams, destination, and the waiting for rounds.
//
// migration_init, migration_add for each block, migration_start, migration_round..., then
// migration_end.
#pragma once

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include "cleanup.h"
#include "destination.h"
#include "guest_ram.h"
#include "memory_stream.h"
#include "source.h"

#define MIGRATION_STREAMS_MAX 3

struct migration;

struct migration_receiver {
	struct migration *m;
	unsigned int index;
	pthread_t thread;
	int result;
	struct errtext err;
};

struct migration {
	struct ram_map from, to;
	unsigned int streams;
	bool deaf; /* nobody receives */
	struct compression compression;
	int (*quiesce)(void *m, bool *settled, struct errtext *err);
	void *test; /* for the hooks of the test */

	struct tracker *tracker;
	struct source *source;
	struct destination *destination;
	struct owed *owed; /* once post-copy is expected */
	char owed_path[64];
	int owed_fd;
	struct memory_pipe pipe[MIGRATION_STREAMS_MAX];
	struct byte_stream *stream[MIGRATION_STREAMS_MAX];
	struct migration_receiver receiver[MIGRATION_STREAMS_MAX];
	uint32_t started; /* rounds */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	uint32_t done;
	struct source_round last;
	uint32_t synced[MIGRATION_STREAMS_MAX];
};

static inline void migration_init(struct migration *m, unsigned int streams)
{
	*m = (struct migration){.streams = streams, .owed_fd = -1};
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	for (unsigned int i = 0; i < streams; i++)
		memory_pipe_init(&m->pipe[i], 256 << 10);
}

static inline void migration_add(struct migration *m, const char *name, uint64_t size,
				 uint32_t page_size)
{
	guest_ram_add(&m->from, name, size, page_size);
	guest_ram_add(&m->to, name, size, RAM_PAGE_SIZE);
}

static inline void migration_add_private(struct migration *m, const char *name, uint64_t size)
{
	guest_ram_add_private(&m->from, name, size);
	guest_ram_add(&m->to, name, size, RAM_PAGE_SIZE);
}

static inline void migration_round_done(void *opaque, const struct source_round *round)
{
	struct migration *m = opaque;

	pthread_mutex_lock(&m->lock);
	m->done++;
	m->last = *round;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static inline void migration_synced(void *opaque, unsigned int stream, uint32_t round)
{
	struct migration *m = opaque;

	pthread_mutex_lock(&m->lock);
	m->synced[stream] = round;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static inline void *migration_receive(void *arg)
{
	struct migration_receiver *r = arg;

	r->result = destination_receive(r->m->destination, r->index,
					&r->m->pipe[r->index].in.stream, &r->err);
	return NULL;
}

static inline void migration_start_receivers(struct migration *m)
{
	struct destination_options to = {.ram = &m->to, .synced = migration_synced, .opaque = m};
	struct errtext err = {0};

	cr_assert_eq(destination_new(&to, &m->destination, &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < m->streams; i++) {
		struct migration_receiver *r = &m->receiver[i];

		*r = (struct migration_receiver){.m = m, .index = i};
		cr_assert_eq(pthread_create(&r->thread, NULL, migration_receive, r), 0);
	}
}

static inline void migration_start(struct migration *m)
{
	struct source_options from = {
		.ram = &m->from,
		.streams = m->stream,
		.stream_count = m->streams,
		.compression = m->compression,
		.quiesce = m->quiesce,
		.round_done = migration_round_done,
		.opaque = m,
	};
	struct errtext err = {0};

	from.tracker = m->tracker = guest_track(&m->from);
	for (unsigned int i = 0; i < m->streams; i++)
		m->stream[i] = &m->pipe[i].out.stream;
	if (!m->deaf)
		migration_start_receivers(m);
	cr_assert_eq(source_new(&from, &m->source, &err), 0, "%s", err.text);
}

static inline void migration_begin_round(struct migration *m, enum source_round_kind kind)
{
	source_round_start(m->source, ++m->started, kind);
}

static inline bool migration_all_synced(const struct migration *m)
{
	for (unsigned int i = 0; i < m->streams; i++)
		if (m->synced[i] != m->started)
			return false;
	return true;
}

/* The round begun last, whatever its result; if it went well, arrived as well. */
static inline struct source_round migration_await_round(struct migration *m)
{
	struct source_round round;

	pthread_mutex_lock(&m->lock);
	while (m->done < m->started)
		pthread_cond_wait(&m->changed, &m->lock);
	while (m->last.result == 0 && !m->deaf && !migration_all_synced(m))
		pthread_cond_wait(&m->changed, &m->lock);
	round = m->last;
	pthread_mutex_unlock(&m->lock);
	cr_assert_eq(round.round, m->started);
	return round;
}

/* Runs a round that has to succeed. Returns the number of pages sent as data. */
static inline uint64_t migration_round(struct migration *m, enum source_round_kind kind)
{
	struct source_round round;

	migration_begin_round(m, kind);
	round = migration_await_round(m);
	cr_assert_eq(round.result, 0, "round %u: %s", round.round, round.err.text);
	return round.pages;
}

static inline void migration_read(const struct ram_block *b, uint64_t page, uint8_t *to)
{
	if (ram_block_is_private(b))
		memcpy(to, guest_page(b, page), RAM_PAGE_SIZE);
	else
		cr_assert_eq(pread(b->fd, to, RAM_PAGE_SIZE, (off_t)(page << RAM_PAGE_SHIFT)),
			     RAM_PAGE_SIZE);
}

/* Not through the mappings, which would fill holes. */
static inline void migration_expect_equal(const struct migration *m)
{
	for (unsigned int i = 0; i < m->from.count; i++) {
		for (uint64_t page = 0; page < ram_block_pages(&m->from.blocks[i]); page++) {
			uint8_t here[RAM_PAGE_SIZE], there[RAM_PAGE_SIZE];

			migration_read(&m->from.blocks[i], page, here);
			migration_read(&m->to.blocks[i], page, there);
			if (memcmp(here, there, RAM_PAGE_SIZE) != 0)
				cr_assert_fail("block %s: page %llu differs",
					       m->from.blocks[i].name, (unsigned long long)page);
		}
	}
}

/* Post-copy: the destination takes stale rounds from now on. The file of what is owed has no name,
 * so that nothing is left of a test that fails. */
static inline void migration_expect_stale(struct migration *m)
{
	struct errtext err = {0};

	snprintf(m->owed_path, sizeof(m->owed_path), "/dev/shm/dray-test-owed.%d", getpid());
	cr_assert_eq(owed_create(m->owed_path, &m->to, &m->owed, &err), 0, "%s", err.text);
	m->owed_fd = open(m->owed_path, O_RDWR | O_CLOEXEC);
	unlink(m->owed_path);
	snprintf(m->owed_path, sizeof(m->owed_path), "/proc/self/fd/%d", m->owed_fd);
	destination_expect_stale(m->destination, m->owed, NULL);
}

static inline bool migration_is_hole(const struct ram_block *b, uint64_t page)
{
	off_t at = (off_t)(page << RAM_PAGE_SHIFT);

	return lseek(b->fd, at, SEEK_DATA) != at;
}

/* Each page is equal, or owed; if owed it is missing, and the source knows that it has to serve it.
 * Returns how many are owed. */
static inline uint64_t migration_expect_equal_or_owed(const struct migration *m)
{
	uint64_t owed = 0;

	for (unsigned int i = 0; i < m->from.count; i++) {
		const struct bitmap *stale = source_stale(m->source, i);

		for (uint64_t page = 0; page < ram_block_pages(&m->from.blocks[i]); page++) {
			uint8_t here[RAM_PAGE_SIZE], there[RAM_PAGE_SIZE];

			if (owed_test(m->owed, i, page)) {
				cr_assert(migration_is_hole(&m->to.blocks[i], page));
				cr_assert(bitmap_test(stale, page));
				owed++;
				continue;
			}
			migration_read(&m->from.blocks[i], page, here);
			migration_read(&m->to.blocks[i], page, there);
			if (memcmp(here, there, RAM_PAGE_SIZE) != 0)
				cr_assert_fail("block %s: page %llu differs",
					       m->from.blocks[i].name, (unsigned long long)page);
		}
	}
	cr_assert_eq(owed, owed_left(m->owed));
	return owed;
}

/* All but the RAM and the destination. Also checks that no round was reported twice, and that the
 * receivers came to a clean end unless a round had failed. */
static inline void migration_stop(struct migration *m)
{
	source_destroy(m->source);
	for (unsigned int i = 0; i < m->streams; i++) {
		m->stream[i]->ops->destroy(m->stream[i]);
		if (m->deaf)
			continue;
		pthread_join(m->receiver[i].thread, NULL);
		if (m->last.result == 0)
			cr_assert_eq(m->receiver[i].result, 0, "%s", m->receiver[i].err.text);
	}
	cr_assert_eq(m->done, m->started);
	for (unsigned int i = 0; i < m->streams; i++)
		memory_pipe_free(&m->pipe[i]);
	tracker_destroy(m->tracker);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
}

static inline void migration_end(struct migration *m)
{
	migration_stop(m);
	destination_destroy(m->destination);
	owed_close(m->owed);
	cleanup_close(&m->owed_fd);
	guest_ram_destroy(&m->from);
	guest_ram_destroy(&m->to);
}
