// SPDX-License-Identifier: Apache-2.0
// How much memory there is for a RAM block.
//
// Of huge pages all that are free count, though some may be reserved: for this guest, perhaps. So
// what is called too little is too little.
#include "ram_room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "cleanup.h"

static uint64_t free_huge_pages(uint32_t page_size)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[96];
	uint64_t pages, bytes = UINT64_MAX;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%" PRIu32 "kB/free_hugepages",
		 page_size >> 10);
	f = fopen(path, "re");
	if (f && fscanf(f, "%" SCNu64, &pages) == 1)
		bytes = pages * page_size;
	return bytes; // cppcheck-suppress resourceLeak; it does not know the cleanup attribute
}

static uint64_t free_space(const struct ram_block *b)
{
	struct statvfs fs;

	if (fstatvfs(b->fd, &fs) < 0 || fs.f_blocks == 0) /* mounted without a limit */
		return UINT64_MAX;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The directory of the file: QEMU's, or libvirt's for this guest. */
static void name_directory(const struct ram_block *b, char *to, size_t size)
{
	char path[40], *slash;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd);
	n = readlink(path, to, size - 1);
	to[n < 0 ? 0 : n] = '\0';
	slash = strrchr(to, '/');
	if (slash)
		*slash = '\0';
}

int ram_room_look(const struct ram_block *b, struct ram_room *room)
{
	char directory[RAM_ROOM_WHERE_MAX - 16];
	struct stat st;

	if (ram_block_is_private(b)) /* no file has it, and its pool is not told by one */
		return -ENOENT;
	if (fstat(b->fd, &st) < 0)
		return -errno;
	*room = (struct ram_room){.free = free_space(b), .pool = st.st_dev};
	if (b->page_size > RAM_PAGE_SIZE) {
		uint64_t pages = free_huge_pages(b->page_size);

		room->free = pages < room->free ? pages : room->free;
		snprintf(room->where, sizeof(room->where), "huge pages of %" PRIu32 " KiB",
			 b->page_size >> 10);
		return 0;
	}
	name_directory(b, directory, sizeof(directory));
	snprintf(room->where, sizeof(room->where), "%s (tmpfs)", directory);
	return 0;
}

static uint64_t to_come(const struct ram_block *b, uint64_t allocated)
{
	struct stat st;
	uint64_t has;

	if (fstat(b->fd, &st) < 0)
		return 0;
	has = (uint64_t)st.st_blocks * 512;
	return allocated > has ? allocated - has : 0;
}

/* Bytes to come for all blocks that take from the same pool. */
static uint64_t pool_needs(const struct ram_map *ram, const struct ram_map *from, uint64_t pool)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < ram->count; i++) {
		struct ram_room room;

		if (ram_room_look(&ram->blocks[i], &room) == 0 && room.pool == pool)
			bytes += to_come(&ram->blocks[i], from->blocks[i].allocated);
	}
	return bytes;
}

int ram_room_check(const struct ram_map *ram, const struct ram_map *from, struct errtext *err)
{
	for (unsigned int i = 0; i < ram->count; i++) {
		struct ram_room room;
		uint64_t needs;

		if (ram_room_look(&ram->blocks[i], &room) < 0)
			continue;
		needs = pool_needs(ram, from, room.pool);
		if (needs > room.free)
			return errtext_set(err, -ENOSPC,
					   "the destination lacks memory: %" PRIu64
					   " MiB of the guest's RAM are to come, and of %s %" PRIu64
					   " MiB are free: make room there",
					   needs >> 20, room.where, room.free >> 20);
	}
	return 0;
}

int ram_room_lacks(const struct ram_block *b, int code, struct errtext *err)
{
	struct ram_room room;

	if (ram_room_look(b, &room) < 0)
		return errtext_set(err, code, "RAM block %s: there is no memory for it", b->name);
	if (room.free == UINT64_MAX)
		return errtext_set(err, code, "RAM block %s: there is no memory for it in %s",
				   b->name, room.where);
	return errtext_set(err, code,
			   "RAM block %s: there is no memory for it: of %s %" PRIu64
			   " MiB are free now: make room there",
			   b->name, room.where, room.free >> 20);
}
