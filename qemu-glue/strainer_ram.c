// SPDX-License-Identifier: Apache-2.0
// The section "ram" of QEMU's migration stream: its list of blocks, and pages.
#include <errno.h>
#include <inttypes.h>
#include "strainer_private.h"

#define RAM_FLAGS 0xfffu
#define RAM_ZERO 0x002u
#define RAM_MEM_SIZE 0x004u
#define RAM_PAGE 0x008u
#define RAM_EOS 0x010u
#define RAM_CONTINUE 0x020u
#define RAM_MULTIFD_FLUSH 0x200u

/* ---- the list of blocks ---- */

static bool is_named(const struct ram_block *b, const uint8_t *name, size_t n)
{
	return strlen(b->name) == n && memcmp(b->name, name, n) == 0;
}

static const struct ram_block *find_named(const struct ram_map *map, const uint8_t *name, size_t n)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (is_named(&map->blocks[i], name, n))
			return &map->blocks[i];
	return NULL;
}

/* That of this name, or path, in the stream, if its pages are dropped. */
static const struct ram_block *find_dropped(const struct strainer *s, const uint8_t *name, size_t n)
{
	static const char path[] = "/objects/";
	const size_t skip = sizeof(path) - 1;
	const struct ram_block *block = find_named(s->drop, name, n);

	if (block || n <= skip || memcmp(name, path, skip) != 0)
		return block;
	return find_named(s->drop, name + skip, n - skip);
}

/* All have come: ours among them? */
static int end_list(struct strainer *s, const struct strainer_sink *to)
{
	s->has_list = true;
	for (unsigned int i = 0; i < s->drop->count; i++)
		if (!s->listed[i])
			return strainer_misfit(s, to, "QEMU does not list RAM block '%s'",
					       s->drop->blocks[i].name);
	strainer_gather(s, STRAINER_ITEM, 8);
	return 0;
}

static int go_on_with_list(struct strainer *s, const struct strainer_sink *to)
{
	if (!s->unlisted)
		return end_list(s, to);
	strainer_gather(s, STRAINER_LISTED_LENGTH, 1);
	return 0;
}

static int begin_list(struct strainer *s, const struct strainer_sink *to)
{
	int ret;

	if (!s->starts || s->has_list)
		return strainer_misfit(s, to, "a second list of RAM blocks");
	s->unlisted = s->item & ~(uint64_t)RAM_FLAGS;
	ret = strainer_keep(s, to, s->head, s->need);
	return ret < 0 ? ret : go_on_with_list(s, to);
}

static int take_listed_length(struct strainer *s, const struct strainer_sink *to)
{
	uint8_t n = s->head[0];

	if (!n)
		return strainer_misfit(s, to, "a RAM block in its list has no name");
	return strainer_keep_head(s, to, STRAINER_LISTED, n + 8u);
}

static int take_listed(struct strainer *s, const struct strainer_sink *to)
{
	size_t n = s->need - 8;
	uint64_t size = strainer_be64(s->head + n);
	const struct ram_block *block = find_dropped(s, s->head, n);
	int ret;

	if (!size || size > s->unlisted)
		return strainer_misfit(
			s, to, "RAM block '%.*s' is listed with %" PRIu64 " bytes of %" PRIu64,
			(int)n, s->head, size, s->unlisted);
	if (block && size != block->size)
		return strainer_misfit(s, to,
				       "RAM block '%s' has %" PRIu64 " bytes there, and %" PRIu64
				       " in QEMU's memory",
				       block->name, size, block->size);
	if (block && s->listed[block - s->drop->blocks])
		return strainer_misfit(s, to, "RAM block '%s' is listed twice", block->name);
	if (block)
		s->listed[block - s->drop->blocks] = true;
	s->unlisted -= size;
	ret = strainer_keep(s, to, s->head, s->need);
	return ret < 0 ? ret : go_on_with_list(s, to);
}

/* ---- pages ---- */

static int drop_page(struct strainer *s, const struct strainer_sink *to, uint64_t at, size_t n)
{
	if (at >= s->block->size)
		return strainer_misfit(s, to,
				       "RAM block '%s' of %" PRIu64 " bytes has a page at %" PRIu64,
				       s->block->name, s->block->size, at);
	strainer_count(n == 1 ? &s->zero_pages : &s->data_pages, 1);
	return 0;
}

static int keep_page(struct strainer *s, const struct strainer_sink *to)
{
	uint64_t item = htobe64(s->item & ~(uint64_t)RAM_CONTINUE);
	uint8_t record[sizeof(item) + 1 + sizeof(s->name)];

	memcpy(record, &item, sizeof(item));
	record[sizeof(item)] = s->name_length;
	memcpy(record + sizeof(item) + 1, s->name, s->name_length);
	return strainer_keep(s, to, record, sizeof(item) + 1 + s->name_length);
}

/* Its block is known. */
static int begin_page(struct strainer *s, const struct strainer_sink *to)
{
	size_t n = s->item & RAM_ZERO ? 1 : RAM_PAGE_SIZE;

	strainer_set_body(s, n, !s->block);
	strainer_gather(s, STRAINER_ITEM, 8);
	return s->block ? drop_page(s, to, s->item & ~(uint64_t)RAM_FLAGS, n) : keep_page(s, to);
}

static int take_page(struct strainer *s, const struct strainer_sink *to)
{
	if (!s->has_list)
		return strainer_misfit(s, to, "a page comes before the list of RAM blocks");
	if (!(s->item & RAM_CONTINUE)) {
		strainer_gather(s, STRAINER_BLOCK_LENGTH, 1);
		return 0;
	}
	if (!s->name_length)
		return strainer_misfit(s, to,
				       "a page goes on in a RAM block, and there was none before");
	return begin_page(s, to);
}

static int end_section(struct strainer *s, const struct strainer_sink *to)
{
	if (!s->has_list)
		return strainer_misfit(s, to, "its RAM has no list of blocks");
	if (s->ends)
		s->ram = STRAINER_RAM_ENDED;
	s->footer_due = true;
	return strainer_keep_head(s, to, STRAINER_TYPE, 1);
}

static int take_item(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t flags;

	s->item = strainer_be64(s->head);
	flags = (uint32_t)s->item & RAM_FLAGS;
	if ((flags & ~RAM_CONTINUE) == RAM_PAGE || (flags & ~RAM_CONTINUE) == RAM_ZERO)
		return take_page(s, to);
	if (flags == RAM_MEM_SIZE)
		return begin_list(s, to);
	if (s->item == RAM_EOS)
		return end_section(s, to);
	if (s->item == RAM_MULTIFD_FLUSH)
		return strainer_keep_head(s, to, STRAINER_ITEM, 8);
	return strainer_misfit(s, to,
			       "its RAM has an item 0x%" PRIx64 ", with the flags 0x%03" PRIx32,
			       s->item, flags);
}

static int take_block_length(struct strainer *s, const struct strainer_sink *to)
{
	uint8_t n = s->head[0];

	if (!n)
		return strainer_misfit(s, to, "a page's RAM block has no name");
	strainer_gather(s, STRAINER_BLOCK, n);
	return 0;
}

static int take_block(struct strainer *s, const struct strainer_sink *to)
{
	s->name_length = (uint8_t)s->need;
	memcpy(s->name, s->head, s->need);
	s->block = find_dropped(s, s->head, s->need);
	return begin_page(s, to);
}

/* ---- the interface ---- */

static int (*const take[])(struct strainer *s, const struct strainer_sink *to) = {
	[STRAINER_ITEM] = take_item,	 [STRAINER_LISTED_LENGTH] = take_listed_length,
	[STRAINER_LISTED] = take_listed, [STRAINER_BLOCK_LENGTH] = take_block_length,
	[STRAINER_BLOCK] = take_block,
};

_Static_assert(sizeof(take) / sizeof(take[0]) == STRAINER_PASS, "a row for each step");

int strainer_ram_take(struct strainer *s, const struct strainer_sink *to)
{
	return take[s->step](s, to);
}
