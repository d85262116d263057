// SPDX-License-Identifier: Apache-2.0
// What one sender knows the destination to hold of one RAM block.
#include "block_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "page_hash.h"

int block_record_init(struct block_record *r, const struct ram_block *b, uint64_t granule,
		      bool unseen)
{
	uint64_t pages = ram_block_pages(b);
	int ret = bitmap_init(&r->sent, pages);

	r->hashes_all = b->page_size > RAM_PAGE_SIZE;

	if (ret == 0)
		ret = bitmap_init(&r->used, pages / granule + 1);
	if (ret == 0)
		ret = bitmap_init(&r->told, pages / granule + 1);
	if (ret == 0 && unseen)
		ret = bitmap_init(&r->suspect, pages);
	if (ret == 0 && (r->hashes_all || unseen)) {
		r->hash = calloc(pages, sizeof(*r->hash));
		ret = r->hash ? 0 : -ENOMEM;
	}
	return ret;
}

void block_record_destroy(struct block_record *r)
{
	bitmap_destroy(&r->sent);
	bitmap_destroy(&r->suspect);
	bitmap_destroy(&r->used);
	bitmap_destroy(&r->told);
	free(r->hash);
}

bool block_record_same(struct block_record *r, uint64_t page, const uint8_t *content, bool copy)
{
	bool remember = copy || r->hashes_all, same;
	uint64_t hash;

	if (!r->hash || (!remember && r->hash[page] == 0))
		return false;
	hash = XXH3_64bits(content, RAM_PAGE_SIZE);
	hash += hash == 0;
	same = r->hash[page] == hash;
	r->hash[page] = same || remember ? hash : 0;
	return same;
}

void block_record_forget(struct block_record *r, uint64_t first, uint64_t count)
{
	if (r->hash)
		memset(&r->hash[first], 0, count * sizeof(*r->hash));
}
