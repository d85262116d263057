// SPDX-License-Identifier: Apache-2.0
// What a synthetic guest has in its memory, and which pages it writes in which order.
//
// The same seed gives the same sequence on every host. One thread a pattern.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum bench_pattern_kind {
	BENCH_IDLE,	  /* writes nothing */
	BENCH_SEQUENTIAL, /* page after page, over and over */
	BENCH_UNIFORM,	  /* any page */
	BENCH_ZIPF,	  /* a hot set: the page of rank r about r times as seldom as the first */
	BENCH_TEXT,	  /* any page; contents can be compressed to about a half */
	BENCH_DUPLICATES, /* any page; there are but 64 different contents */
	BENCH_SILENT,	  /* any page, which is as it was after the write */
	BENCH_PATTERNS
};

struct bench_pattern {
	enum bench_pattern_kind kind;
	uint64_t pages; /* of the memory; more than 0 */
	uint64_t state; /* of the random numbers; not 0 */
	uint64_t next;	/* sequential: the next page */
};

/* "idle", "sequential", ...; NULL past the last one. */
const char *bench_pattern_name(unsigned int kind);
/* False: there is none of this name. */
bool bench_pattern_of(const char *name, enum bench_pattern_kind *kind);

void bench_pattern_init(struct bench_pattern *p, enum bench_pattern_kind kind, uint64_t pages);
/* The page to be written next. Not of an idle guest. */
uint64_t bench_pattern_next(struct bench_pattern *p);
/* A page's content after so many writes of any page: 4096 bytes. Differs with the version, but for
 * silent, and (mostly) for duplicates. Never zero. */
void bench_pattern_fill(enum bench_pattern_kind kind, uint64_t page, uint64_t version,
			uint8_t *out);
