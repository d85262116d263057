// SPDX-License-Identifier: Apache-2.0
// The pages that the destination still owes its guest, in a file.
//
//   header   magic:8 version:4 blocks:4 sealed:4 reserved:4, then per block { name size unit }
//   bitmaps  from the next multiple of 4096, one bit a unit, each block's a multiple of 8 bytes
//
// In the byte order of the host, which the file never leaves. Where the bitmaps lie follows from
// the RAM map alone, so nothing in a damaged file leads out of it. The magic is written last.
#include "owed.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "atomic_bitmap.h"
#include "bitmap_word.h"
#include "cleanup.h"
#include "wire.h"

#define OWED_MAGIC 0x4445574f59415244ull /* "DRAYOWED" */
#define OWED_VERSION 1
#define HEADER_ALIGN 4096u

struct file_block {
	char name[RAM_BLOCK_NAME_MAX];
	uint64_t size;
	uint32_t page_size;
	uint32_t reserved;
};

struct file_header {
	atomic_uint_least64_t magic;
	uint32_t version;
	uint32_t blocks;
	atomic_uint sealed;
	uint32_t reserved;
	struct file_block block[];
};

_Static_assert(sizeof(struct file_header) == 24 && sizeof(struct file_block) == 144, "file layout");

struct owed {
	/* constant after init */
	const struct ram_map *ram;
	struct file_header *file; /* mapped */
	size_t size;
	struct atomic_bitmap *blocks; /* over the mapping */

	atomic_uint_least64_t left; /* units, weighted by their pages; release when it falls */
};

static uint64_t units(const struct ram_block *b)
{
	return b->size / b->page_size;
}

uint32_t owed_unit(const struct owed *o, unsigned int block)
{
	return o->ram->blocks[block].page_size >> RAM_PAGE_SHIFT;
}

static size_t bitmaps_offset(const struct ram_map *ram)
{
	size_t used = sizeof(struct file_header) + ram->count * sizeof(struct file_block);

	return (used + HEADER_ALIGN - 1) / HEADER_ALIGN * HEADER_ALIGN;
}

static size_t file_size(const struct ram_map *ram)
{
	size_t size = bitmaps_offset(ram);

	for (unsigned int i = 0; i < ram->count; i++)
		size += bitmap_words(units(&ram->blocks[i])) * sizeof(uint64_t);
	return size;
}

static int map_file(struct owed *o, int fd, const char *path, struct errtext *err)
{
	const struct ram_map *ram = o->ram;
	uint8_t *at;

	at = mmap(NULL, o->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return errtext_set(err, -errno, "%s: cannot be mapped: %s", path, strerror(errno));
	o->file = (struct file_header *)at;
	o->blocks = calloc(ram->count, sizeof(*o->blocks));
	if (!o->blocks)
		return errtext_set(err, -ENOMEM, "%s: out of memory", path);
	at += bitmaps_offset(ram);
	for (unsigned int i = 0; i < ram->count; i++) {
		o->blocks[i].bits = units(&ram->blocks[i]);
		o->blocks[i].words = (atomic_uint_least64_t *)at;
		at += bitmap_words(o->blocks[i].bits) * sizeof(uint64_t);
	}
	return 0;
}

static int check_units(const struct ram_map *ram, struct errtext *err)
{
	for (unsigned int i = 0; i < ram->count; i++) {
		const struct ram_block *b = &ram->blocks[i];

		if (b->page_size >> RAM_PAGE_SHIFT > WIRE_FRAME_PAGES_MAX)
			return errtext_set(err, -ENOTSUP,
					   "RAM block %s: its pages of %" PRIu32
					   " MiB take too long to be fetched one by one: use "
					   "smaller huge pages there, or no post-copy",
					   b->name, b->page_size >> 20);
	}
	return 0;
}

static int new_owed(const struct ram_map *ram, struct owed **out, struct errtext *err)
{
	int ret = check_units(ram, err);

	if (ret < 0)
		return ret;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return errtext_set(err, -ENOMEM, "out of memory");
	(*out)->ram = ram;
	(*out)->size = file_size(ram);
	return 0;
}

static void write_header(struct owed *o)
{
	struct file_header *h = o->file;

	h->version = OWED_VERSION;
	h->blocks = o->ram->count;
	for (unsigned int i = 0; i < o->ram->count; i++) {
		const struct ram_block *b = &o->ram->blocks[i];

		memcpy(h->block[i].name, b->name, strlen(b->name));
		h->block[i].size = b->size;
		h->block[i].page_size = b->page_size;
	}
	/* release: whoever finds the magic finds the rest */
	atomic_store_explicit(&h->magic, OWED_MAGIC, memory_order_release);
}

static void cleanup_owed(struct owed **o)
{
	owed_close(*o);
}

int owed_create(const char *path, const struct ram_map *ram, struct owed **out, struct errtext *err)
{
	_cleanup_(cleanup_owed) struct owed *o = NULL;
	_cleanup_close_ int fd = -1;
	int ret = new_owed(ram, &o, err);

	if (ret < 0)
		return ret;
	if (unlink(path) < 0 && errno != ENOENT)
		return errtext_set(err, -errno, "%s: cannot be replaced: %s", path,
				   strerror(errno));
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errtext_set(err, -errno, "%s: cannot be created: %s", path, strerror(errno));
	/* Memory for all of it now: a bit that finds none later would be a SIGBUS. */
	ret = -posix_fallocate(fd, 0, (off_t)o->size);
	if (ret < 0)
		return errtext_set(err, ret, "%s: no room for %zu bytes: %s", path, o->size,
				   strerror(-ret));
	ret = map_file(o, fd, path, err);
	if (ret < 0)
		return ret;
	write_header(o);
	*out = steal_ptr(&o);
	return 0;
}

static int damaged(const char *path, const char *what, struct errtext *err)
{
	return errtext_set(err, -EINVAL,
			   "%s: %s: it does not say which pages of this guest are missing", path,
			   what);
}

static int check_header(const struct owed *o, const char *path, struct errtext *err)
{
	const struct file_header *h = o->file;

	if (atomic_load_explicit(&h->magic, memory_order_acquire) != OWED_MAGIC)
		return damaged(path, "no such file, or never finished", err);
	if (h->version != OWED_VERSION)
		return damaged(path, "written by another version of dray", err);
	if (h->blocks != o->ram->count)
		return damaged(path, "about another number of RAM blocks", err);
	for (unsigned int i = 0; i < o->ram->count; i++) {
		const struct ram_block *b = &o->ram->blocks[i];

		if (strncmp(h->block[i].name, b->name, RAM_BLOCK_NAME_MAX) != 0 ||
		    h->block[i].size != b->size || h->block[i].page_size != b->page_size)
			return damaged(path, "about other RAM blocks", err);
	}
	return 0;
}

/* Bits past a block's end would never be cleared. */
static int check_bitmaps(struct owed *o, const char *path, struct errtext *err)
{
	uint64_t left = 0;

	for (unsigned int i = 0; i < o->ram->count; i++) {
		struct atomic_bitmap *b = &o->blocks[i];
		struct atomic_bitmap all = {
			.bits = bitmap_words(b->bits) * BITMAP_WORD_BITS,
			.words = b->words,
		};

		if (atomic_bitmap_next_set(&all, b->bits, all.bits) < all.bits)
			return damaged(path, "pages beyond the end of a RAM block", err);
		left += atomic_bitmap_count(b) * owed_unit(o, i);
	}
	atomic_store_explicit(&o->left, left, memory_order_release);
	return 0;
}

int owed_open(const char *path, const struct ram_map *ram, struct owed **out, struct errtext *err)
{
	_cleanup_(cleanup_owed) struct owed *o = NULL;
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	ret = new_owed(ram, &o, err);
	if (ret < 0)
		return ret;
	if (!S_ISREG(st.st_mode) || st.st_size != (off_t)o->size)
		return damaged(path, "not of the size that this guest's RAM asks for", err);
	ret = map_file(o, fd, path, err);
	if (ret == 0)
		ret = check_header(o, path, err);
	if (ret == 0)
		ret = check_bitmaps(o, path, err);
	if (ret == 0)
		*out = steal_ptr(&o);
	return ret;
}

void owed_close(struct owed *o)
{
	if (!o)
		return;
	if (o->file)
		munmap(o->file, o->size);
	free(o->blocks);
	free(o);
}

void owed_seal(struct owed *o)
{
	atomic_store_explicit(&o->file->sealed, 1, memory_order_release);
}

bool owed_sealed(const struct owed *o)
{
	return atomic_load_explicit(&o->file->sealed, memory_order_acquire) == 1;
}

bool owed_test(const struct owed *o, unsigned int block, uint64_t page)
{
	return atomic_bitmap_test(&o->blocks[block], page / owed_unit(o, block));
}

uint64_t owed_set(struct owed *o, unsigned int block, uint64_t first, uint64_t count)
{
	uint64_t unit = owed_unit(o, block), from = first / unit;
	uint64_t end = (first + count + unit - 1) / unit;
	uint64_t pages = atomic_bitmap_set(&o->blocks[block], from, end - from) * unit;

	atomic_fetch_add_explicit(&o->left, pages, memory_order_relaxed);
	return pages;
}

uint64_t owed_clear(struct owed *o, unsigned int block, uint64_t first, uint64_t count)
{
	uint64_t unit = owed_unit(o, block), from = (first + unit - 1) / unit;
	uint64_t end = (first + count) / unit, pages;

	if (from >= end)
		return 0;
	pages = atomic_bitmap_clear(&o->blocks[block], from, end - from) * unit;
	atomic_fetch_sub_explicit(&o->left, pages, memory_order_release);
	return pages;
}

/* A position found in units, in pages, no further than end. */
static uint64_t clip(uint64_t found, uint64_t unit, uint64_t from, uint64_t end)
{
	uint64_t page = found * unit;

	if (page < from)
		return from;
	return page < end ? page : end;
}

uint64_t owed_next(const struct owed *o, unsigned int block, uint64_t from, uint64_t end)
{
	uint64_t unit = owed_unit(o, block), last = (end + unit - 1) / unit;

	return clip(atomic_bitmap_next_set(&o->blocks[block], from / unit, last), unit, from, end);
}

uint64_t owed_next_clear(const struct owed *o, unsigned int block, uint64_t from, uint64_t end)
{
	uint64_t unit = owed_unit(o, block), last = (end + unit - 1) / unit;

	return clip(atomic_bitmap_next_clear(&o->blocks[block], from / unit, last), unit, from,
		    end);
}

uint64_t owed_left(const struct owed *o)
{
	return atomic_load_explicit(&o->left, memory_order_acquire);
}
