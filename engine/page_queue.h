// SPDX-License-Identifier: Apache-2.0
// A short queue of guesses, pages to send soon. Of too many the oldest are forgotten.
//
// Positions are units of a block (owed.h). Not thread-safe.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PAGE_QUEUE_SIZE 1024u

struct page_queue_entry {
	uint32_t block;
	uint64_t unit;
};

/* Zero-initialise. */
struct page_queue {
	uint64_t head, tail; /* taken, put since the start; tail - head <= PAGE_QUEUE_SIZE */
	struct page_queue_entry entries[PAGE_QUEUE_SIZE];
};

static inline void page_queue_put(struct page_queue *q, uint32_t block, uint64_t unit)
{
	if (q->tail - q->head == PAGE_QUEUE_SIZE)
		q->head++;
	q->entries[q->tail++ % PAGE_QUEUE_SIZE] = (struct page_queue_entry){block, unit};
}

static inline bool page_queue_take(struct page_queue *q, struct page_queue_entry *e)
{
	if (q->head == q->tail)
		return false;
	*e = q->entries[q->head++ % PAGE_QUEUE_SIZE];
	return true;
}
