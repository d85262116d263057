// SPDX-License-Identifier: Apache-2.0
// Proof that both hosts hold the same memory, while the guest runs on one of them.
//
// Pages are read through the file: to touch a hole by the mapping would fill it.
#include "proof.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include "hole.h"

#define CHUNK_PAGES 256u /* read at once */

_Static_assert(WIRE_PROOF_PAGES_MAX % TRACKER_GRANULE_PAGES == 0, "pieces are whole granules");

struct proof {
	/* constant after init */
	const struct ram_map *ram;
	struct tracker *tracker;
	XXH128_canonical_t zero; /* of a page of zeroes */

	struct proof_result result;
	unsigned int block; /* where proof_next goes on */
	uint64_t first;
	XXH128_canonical_t pages[WIRE_PROOF_PAGES_MAX], kept[WIRE_PROOF_PAGES_MAX];
	uint8_t chunk[CHUNK_PAGES * RAM_PAGE_SIZE];
};

static void put(XXH128_canonical_t *to, const void *data, size_t len)
{
	XXH128_canonicalFromHash(to, XXH3_128bits(data, len));
}

int proof_new(const struct ram_map *ram, struct tracker *tracker, struct proof **out,
	      struct errtext *err)
{
	struct proof *p = calloc(1, sizeof(*p));

	if (!p)
		return errtext_set(err, -ENOMEM, "out of memory");
	p->ram = ram;
	p->tracker = tracker;
	put(&p->zero, p->chunk, RAM_PAGE_SIZE);
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

static int hash_chunk(struct proof *p, const struct ram_block *b, uint64_t first, uint32_t count,
		      XXH128_canonical_t *to)
{
	int ret;

	if (hole_possible(b) && hole_next_data(b, first) >= first + count) {
		for (uint32_t i = 0; i < count; i++)
			to[i] = p->zero;
		return 0;
	}
	ret = read_chunk(p, b, first, count);
	for (uint32_t i = 0; i < count && ret == 0; i++)
		put(&to[i], p->chunk + (size_t)i * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	return ret;
}

static int hash_pages(struct proof *p, unsigned int block, uint64_t first, uint32_t count,
		      struct errtext *err)
{
	const struct ram_block *b = &p->ram->blocks[block];
	int ret = 0;

	for (uint32_t at = 0; at < count && ret == 0; at += CHUNK_PAGES) {
		uint32_t part = count - at < CHUNK_PAGES ? count - at : CHUNK_PAGES;

		ret = hash_chunk(p, b, first + at, part, p->pages + at);
	}
	return ret < 0 ? errtext_set(err, ret, "RAM block %s: cannot be read: %s", b->name,
				     strerror(-ret))
		       : 0;
}

/* ---- pieces ---- */

static bool is_written(const struct wire_proof *piece, uint32_t page)
{
	return piece->written[page / 8] & 1u << page % 8;
}

/* Over the hashes of those that were not written. Returns how many they are. */
static uint32_t digest_kept(struct proof *p, const struct wire_proof *piece, uint8_t digest[16])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < piece->count; i++)
		if (!is_written(piece, i))
			p->kept[n++] = p->pages[i];
	put((XXH128_canonical_t *)digest, p->kept, n * sizeof(p->kept[0]));
	return n;
}

static int look_up_written(struct proof *p, struct wire_proof *piece, struct errtext *err)
{
	const struct ram_block *b = &p->ram->blocks[piece->block];
	struct wire_run runs[TRACKER_RUNS_MAX];

	memset(piece->written, 0, sizeof(piece->written));
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
	uint64_t pages;
	int ret;

	while (p->block < p->ram->count && p->first == ram_block_pages(&p->ram->blocks[p->block])) {
		p->block++;
		p->first = 0;
	}
	if (p->block == p->ram->count)
		return 0;
	pages = ram_block_pages(&p->ram->blocks[p->block]) - p->first;
	*out = (struct wire_proof){
		.block = (uint16_t)p->block,
		.first = p->first,
		.count = (uint32_t)(pages < WIRE_PROOF_PAGES_MAX ? pages : WIRE_PROOF_PAGES_MAX),
	};
	ret = hash_pages(p, out->block, out->first, out->count, err);
	if (ret == 0)
		ret = look_up_written(p, out, err);
	if (ret < 0)
		return ret;
	digest_kept(p, out, out->digest);
	p->first += out->count;
	return 1;
}

int proof_compare(struct proof *p, const struct wire_proof *piece, struct errtext *err)
{
	struct proof_result *r = &p->result;
	uint8_t digest[16];
	uint64_t pages = 0;
	uint32_t kept;
	int ret;

	if (piece->block < p->ram->count)
		pages = ram_block_pages(&p->ram->blocks[piece->block]);
	if (piece->first >= pages || piece->count > pages - piece->first)
		return errtext_set(err, -EPROTO,
				   "the destination proves %" PRIu32 " pages from %" PRIu64
				   " of RAM block %u, which do not exist",
				   piece->count, piece->first, piece->block);
	ret = hash_pages(p, piece->block, piece->first, piece->count, err);
	if (ret < 0)
		return ret;
	kept = digest_kept(p, piece, digest);
	r->written += piece->count - kept;
	if (memcmp(digest, piece->digest, sizeof(digest)) == 0) {
		r->equal += kept;
		return 0;
	}
	if (r->unequal == 0) {
		r->block = piece->block;
		r->first = piece->first;
		r->count = piece->count;
	}
	r->unequal += kept;
	return 0;
}

void proof_result(const struct proof *p, struct proof_result *result)
{
	*result = p->result;
}
