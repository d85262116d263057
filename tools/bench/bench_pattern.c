// SPDX-License-Identifier: Apache-2.0
// What a synthetic guest has in its memory, and which pages it writes in which order.
#include "bench_pattern.h"

#include <string.h>
#include "ram_map.h"

#define WORDS (RAM_PAGE_SIZE / sizeof(uint64_t))
#define DIFFERENT 64
/* A prime: ranks are spread over the memory by it, so that what is hot does not lie together. */
#define SPREAD 2654435761u

static const char *const names[] = {
	[BENCH_IDLE] = "idle",	     [BENCH_SEQUENTIAL] = "sequential",
	[BENCH_UNIFORM] = "uniform", [BENCH_ZIPF] = "zipf",
	[BENCH_TEXT] = "text",	     [BENCH_DUPLICATES] = "duplicates",
	[BENCH_SILENT] = "silent",
};

_Static_assert(sizeof(names) / sizeof(*names) == BENCH_PATTERNS, "one name for each pattern");

const char *bench_pattern_name(unsigned int kind)
{
	return kind < BENCH_PATTERNS ? names[kind] : NULL;
}

bool bench_pattern_of(const char *name, enum bench_pattern_kind *kind)
{
	for (unsigned int i = 0; i < BENCH_PATTERNS; i++)
		if (strcmp(name, names[i]) == 0) {
			*kind = (enum bench_pattern_kind)i;
			return true;
		}
	return false;
}

/* xorshift64* */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717u;
}

void bench_pattern_init(struct bench_pattern *p, enum bench_pattern_kind kind, uint64_t pages)
{
	*p = (struct bench_pattern){.kind = kind, .pages = pages, .state = 88172645463325252u};
}

/* Of each octave of ranks as often as of another: density 1/rank, in steps, without a logarithm. */
static uint64_t draw_rank(struct bench_pattern *p)
{
	unsigned int octaves = 64 - (unsigned int)__builtin_clzll(p->pages);
	uint64_t first = 1ull << (draw(&p->state) >> 32) % octaves;
	uint64_t end = first * 2 - 1 < p->pages ? first * 2 - 1 : p->pages;

	return first - 1 + (draw(&p->state) >> 16) % (end - first + 1);
}

uint64_t bench_pattern_next(struct bench_pattern *p)
{
	uint64_t page;

	if (p->kind == BENCH_ZIPF)
		return (unsigned __int128)draw_rank(p) * SPREAD % p->pages;
	if (p->kind != BENCH_SEQUENTIAL)
		return (draw(&p->state) >> 16) % p->pages;
	page = p->next;
	p->next = page + 1 < p->pages ? page + 1 : 0;
	return page;
}

void bench_pattern_fill(enum bench_pattern_kind kind, uint64_t page, uint64_t version, uint8_t *out)
{
	uint64_t state, *word = (uint64_t *)out;

	if (kind == BENCH_DUPLICATES) {
		page = (page + version) % DIFFERENT;
		version = 0;
	} else if (kind == BENCH_SILENT) {
		version = 0;
	}
	state = (page + 1) * 0x9e3779b97f4a7c15u ^ (version + 1) * 0xc2b2ae3d27d4eb4fu;
	state |= 1;
	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t value = draw(&state);

		/* Of text half of the words are one and the same. */
		word[i] = kind == BENCH_TEXT && i % 2 ? 0x2065687420646e61u : value;
	}
	word[0] |= 1;
}
