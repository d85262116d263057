// SPDX-License-Identifier: Apache-2.0
// Proof that both hosts hold the same memory, while the guest runs on one of them.
//
// Pages are read through the file: to touch a hole by the mapping would fill it. So would to read a
// missing page of private memory, out of QEMU: its page table is asked before.
#include "proof.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "hole.h"
#include "page_hash.h"
#include "ram_kept.h"
#include "ram_private.h"

#define CHUNK_PAGES 256u /* read at once */

_Static_assert(WIRE_PROOF_PAGES_MAX % TRACKER_GRANULE_PAGES == 0, "pieces are whole granules");

struct proof {
	/* constant after init */
	const struct ram_map *ram;
	struct tracker *tracker;
	uint64_t zero; /* hash of a page of zeroes */

	struct proof_result result;
	bool lost;	    /* what is here proves nothing any more */
	unsigned int block; /* where it goes on */
	uint64_t first;
	uint64_t ours[WIRE_PROOF_PAGES_MAX]; /* hashes of a piece at the source */
	uint8_t chunk[CHUNK_PAGES * RAM_PAGE_SIZE];
};

int proof_new(const struct ram_map *ram, struct tracker *tracker, struct proof **out,
	      struct errtext *err)
{
	struct proof *p = calloc(1, sizeof(*p));

	if (!p)
		return errtext_set(err, -ENOMEM, "out of memory");
	p->ram = ram;
	p->tracker = tracker;
	p->zero = XXH3_64bits(p->chunk, RAM_PAGE_SIZE);
	*out = p;
	return 0;
}

void proof_destroy(struct proof *p)
{
	free(p);
}

/* ---- hashes ---- */

static int read_chunk(struct proof *p, const struct ram_block *b, uint64_t first, uint32_t count)
{
	off_t at = (off_t)(first << RAM_PAGE_SHIFT);
	size_t len = (size_t)count << RAM_PAGE_SHIFT;

	for (size_t done = 0; done < len;) {
		ssize_t n = pread(b->fd, p->chunk + done, len - done, at + (off_t)done);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static void hash_read(const struct proof *p, uint32_t count, uint64_t *to)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = XXH3_64bits(p->chunk + (size_t)i * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
}

static void hash_zeroes(const struct proof *p, uint32_t count, uint64_t *to)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = p->zero;
}

/* Where the page table cannot be read, as of a QEMU that has ended, the memory tells why. */
static int hash_private(struct proof *p, const struct ram_block *b, uint64_t first, uint32_t count,
			uint64_t *to)
{
	bool has[CHUNK_PAGES];
	int ret = 0;

	if (ram_private_has(b, first, count, has) < 0)
		memset(has, true, sizeof(has));
	for (uint32_t at = 0, end; at < count && ret == 0; at = end) {
		for (end = at + 1; end < count && has[end] == has[at];)
			end++;
		if (has[at])
			ret = ram_kept_read(b, first + at, end - at, p->chunk, NULL);
		if (ret == 0 && has[at])
			hash_read(p, end - at, to + at);
		else if (ret == 0)
			hash_zeroes(p, end - at, to + at);
	}
	return ret == 0 ? ram_kept_check(b, NULL) : ret;
}

static int hash_chunk(struct proof *p, const struct ram_block *b, uint64_t first, uint32_t count,
		      uint64_t *to)
{
	int ret;

	if (ram_block_is_private(b))
		return hash_private(p, b, first, count, to);
	if (hole_possible(b) && hole_next_data(b, first, first + count) >= first + count) {
		hash_zeroes(p, count, to);
		return 0;
	}
	ret = read_chunk(p, b, first, count);
	if (ret == 0)
		hash_read(p, count, to);
	return ret;
}

static int hash_pages(struct proof *p, unsigned int block, uint64_t first, uint32_t count,
		      uint64_t *to, struct errtext *err)
{
	const struct ram_block *b = &p->ram->blocks[block];
	int ret = 0;

	for (uint32_t at = 0; at < count && ret == 0; at += CHUNK_PAGES) {
		uint32_t part = count - at < CHUNK_PAGES ? count - at : CHUNK_PAGES;

		ret = hash_chunk(p, b, first + at, part, to + at);
	}
	return ret < 0 ? errtext_set(err, ret, "RAM block %s: cannot be read: %s", b->name,
				     strerror(-ret))
		       : 0;
}

/* ---- pieces ---- */

/* What is to come next; 0 pages: nothing. */
static uint32_t next_piece(struct proof *p)
{
	uint64_t pages;

	while (p->block < p->ram->count && p->first == ram_block_pages(&p->ram->blocks[p->block])) {
		p->block++;
		p->first = 0;
	}
	if (p->block == p->ram->count)
		return 0;
	pages = ram_block_pages(&p->ram->blocks[p->block]) - p->first;
	return (uint32_t)(pages < WIRE_PROOF_PAGES_MAX ? pages : WIRE_PROOF_PAGES_MAX);
}

static int look_up_written(struct proof *p, struct wire_proof *piece, struct errtext *err)
{
	const struct ram_block *b = &p->ram->blocks[piece->block];
	struct wire_run runs[TRACKER_RUNS_MAX];

	for (uint32_t at = 0; at < piece->count; at += TRACKER_GRANULE_PAGES) {
		uint32_t left = piece->count - at;
		int n = tracker_collect(p->tracker, piece->block, piece->first + at,
					left < TRACKER_GRANULE_PAGES ? left : TRACKER_GRANULE_PAGES,
					false, runs);

		if (n < 0)
			return errtext_set(err, n, "RAM block %s: cannot tell what was written: %s",
					   b->name, strerror(-n));
		for (int i = 0; i < n; i++)
			for (uint32_t page = 0; page < runs[i].count; page++) {
				uint64_t bit = runs[i].first - piece->first + page;

				piece->written[bit / 8] |= (uint8_t)(1u << bit % 8);
			}
	}
	return 0;
}

int proof_next(struct proof *p, struct wire_proof *out, struct errtext *err)
{
	uint32_t count = next_piece(p);
	int ret;

	if (count == 0)
		return 0;
	*out = (struct wire_proof){.block = (uint16_t)p->block, .first = p->first, .count = count};
	ret = hash_pages(p, out->block, out->first, count, out->hash, err);
	if (ret == 0)
		ret = look_up_written(p, out, err);
	if (ret < 0)
		return ret;
	p->first += count;
	return 1;
}

static bool is_written(const struct wire_proof *piece, uint32_t page)
{
	return piece->written[page / 8] & 1u << page % 8;
}

static void note_place(struct proof_place *place, const struct wire_proof *piece, uint32_t i)
{
	place->block = piece->block;
	place->page = piece->first + i;
}

static void compare_page(struct proof *p, const struct wire_proof *piece, uint32_t i)
{
	struct proof_result *r = &p->result;

	if (is_written(piece, i)) {
		r->written++;
	} else if (piece->hash[i] == p->ours[i]) {
		r->equal++;
	} else if (piece->hash[i] == p->zero || p->ours[i] == p->zero) {
		if (r->given_back++ == 0)
			note_place(&r->first_given_back, piece, i);
	} else if (r->unequal++ == 0) {
		note_place(&r->first_unequal, piece, i);
	}
}

int proof_compare(struct proof *p, const struct wire_proof *piece, struct errtext *err)
{
	uint32_t count = next_piece(p);
	int ret = 0;

	if (count == 0 || piece->block != p->block || piece->first != p->first ||
	    piece->count != count)
		return errtext_set(err, -EPROTO,
				   "the destination proves %" PRIu32 " pages from %" PRIu64
				   " of RAM block %u, which are not next",
				   piece->count, piece->first, piece->block);
	if (!p->lost)
		ret = hash_pages(p, piece->block, piece->first, count, p->ours, err);
	if (ret < 0 && ret != -EUCLEAN)
		return ret;
	p->lost = p->lost || ret == -EUCLEAN || ram_kept_check(&p->ram->blocks[p->block], NULL) < 0;
	for (uint32_t i = 0; i < count && !p->lost; i++)
		compare_page(p, piece, i);
	p->first += count;
	p->result.complete = next_piece(p) == 0 && !p->lost;
	return 0;
}

void proof_result(const struct proof *p, struct proof_result *result)
{
	*result = p->result;
}

void proof_deny_giving_back(struct proof_result *r)
{
	if (r->given_back && !r->unequal)
		r->first_unequal = r->first_given_back;
	r->unequal += r->given_back;
	r->given_back = 0;
}
