// SPDX-License-Identifier: Apache-2.0
// Guest RAM as a sorted list of named blocks.
#include "ram_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What makes the block impossible, or NULL. */
static const char *block_defect(const struct ram_block *block)
{
	if (!memchr(block->name, '\0', sizeof(block->name)))
		return "its name is too long";
	if (!block->name[0])
		return "it has no name";
	if (block->page_size < RAM_PAGE_SIZE || block->page_size & (block->page_size - 1))
		return "its page size is no power of two from 4096 up";
	if (!block->size || block->size > RAM_BLOCK_SIZE_MAX)
		return "its size is 0 or beyond the limit";
	if (block->size % block->page_size)
		return "its size is no multiple of its page size";
	if (block->allocated > block->size)
		return "more of it has memory than there is";
	return NULL;
}

/* Where a block of this name is, or belongs. */
static unsigned int position(const struct ram_map *map, const char *name)
{
	unsigned int i = 0;

	while (i < map->count && strcmp(map->blocks[i].name, name) < 0)
		i++;
	return i;
}

int ram_map_add(struct ram_map *map, const struct ram_block *block, struct errtext *err)
{
	const char *defect = block_defect(block);
	struct ram_block *grown;
	unsigned int at;

	if (defect)
		return errtext_set(err, -EINVAL,
				   "RAM block '%.*s' (%" PRIu64 " bytes in pages of %" PRIu32
				   ") cannot be migrated: %s",
				   RAM_BLOCK_NAME_MAX - 1, block->name, block->size,
				   block->page_size, defect);
	at = position(map, block->name);
	if (at < map->count && !strcmp(map->blocks[at].name, block->name))
		return errtext_set(err, -EEXIST,
				   "RAM block '%s' exists twice: give each memory backend of the "
				   "guest a name of its own",
				   block->name);
	if (map->count >= RAM_BLOCKS_MAX)
		return errtext_set(err, -E2BIG,
				   "RAM block '%s' is one too many: a guest may have %d",
				   block->name, RAM_BLOCKS_MAX);
	grown = reallocarray(map->blocks, map->count + 1, sizeof(*grown));
	if (!grown)
		return errtext_set(err, -ENOMEM, "out of memory adding RAM block '%s'",
				   block->name);
	memmove(grown + at + 1, grown + at, (map->count - at) * sizeof(*grown));
	grown[at] = *block;
	map->blocks = grown;
	map->count++;
	return 0;
}

static int probe_block(struct ram_block *block, struct errtext *err)
{
	int ret;

	if (block->page_size == RAM_PAGE_SIZE)
		return 0;
	ret = hole_probe_new(block->fd, block->size, block->page_size, &block->probe);
	return ret < 0 ? errtext_set(err, ret,
				     "RAM block %s: cannot find out which of its huge pages are "
				     "allocated: %s",
				     block->name, strerror(-ret))
		       : 0;
}

uint64_t ram_block_allocated(const struct ram_block *block)
{
	struct stat st;
	uint64_t bytes = block->size;

	if (fstat(block->fd, &st) == 0)
		bytes = (uint64_t)st.st_blocks * 512;
	return bytes < block->size ? bytes : block->size;
}

/* MAP_NORESERVE: huge pages are reserved, or deliberately not, by QEMU. */
int ram_block_map(struct ram_block *block, bool writable, struct errtext *err)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ, ret;
	void *at = mmap(NULL, block->size, prot, MAP_SHARED | MAP_NORESERVE, block->fd, 0);

	if (at == MAP_FAILED)
		return errtext_set(err, -errno, "RAM block %s: cannot map its file: %s",
				   block->name, strerror(errno));
	block->map = at;
	block->allocated = ram_block_allocated(block);
	ret = probe_block(block, err);
	if (ret < 0)
		ram_block_unmap(block);
	return ret;
}

void ram_block_unmap(struct ram_block *block)
{
	if (block->map)
		munmap(block->map, block->size);
	block->map = NULL;
	hole_probe_destroy(block->probe);
	block->probe = NULL;
}

void ram_map_destroy(struct ram_map *map)
{
	for (unsigned int i = 0; i < map->count; i++) {
		struct ram_block *block = &map->blocks[i];

		ram_block_unmap(block);
		if (block->fd >= 0)
			close(block->fd);
	}
	free(map->blocks);
	map->blocks = NULL;
	map->count = 0;
}

bool ram_map_has_private(const struct ram_map *map)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (ram_block_is_private(&map->blocks[i]))
			return true;
	return false;
}

bool ram_map_is_strained(const struct ram_map *map)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (map->blocks[i].sent_by_qemu)
			return true;
	return false;
}

uint64_t ram_map_bytes(const struct ram_map *map)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < map->count; i++)
		bytes += map->blocks[i].size;
	return bytes;
}

static int report_missing(const struct ram_block *block, const char *there, const char *not_there,
			  struct errtext *err)
{
	return errtext_set(
		err, -EINVAL,
		"RAM block '%s' (%" PRIu64 " bytes) exists %s but not %s: both guests "
		"need the same memory devices",
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): one of them is there */
		block->name, block->size, there, not_there);
}

int ram_map_match(const struct ram_map *local, const struct ram_map *remote, struct errtext *err)
{
	for (unsigned int i = 0; i < local->count || i < remote->count; i++) {
		const struct ram_block *l = i < local->count ? &local->blocks[i] : NULL;
		const struct ram_block *r = i < remote->count ? &remote->blocks[i] : NULL;
		/* The lists are sorted: the lesser name is the one that the other side lacks. */
		int order = !r ? -1 : !l ? 1 : strcmp(l->name, r->name);

		if (order < 0)
			return report_missing(l, "here", "at the peer", err);
		if (order > 0)
			return report_missing(r, "at the peer", "here", err);
		if (l->size != r->size)
			return errtext_set(err, -EINVAL,
					   "RAM block '%s' has %" PRIu64 " bytes here and %" PRIu64
					   " at the peer: both guests need the same memory size",
					   l->name, l->size, r->size);
	}
	return 0;
}
