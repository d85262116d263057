// SPDX-License-Identifier: Apache-2.0
// Find a QEMU process's guest RAM from outside, by what it has mapped.
//
// Needs root (/proc/PID/map_files). Any thread may call. The process may run; a map that changes
// while it is read is read again.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "ram_backends.h"
#include "ram_map.h"

enum ram_unusable {
	RAM_UNUSABLE_PRIVATE,	/* private to QEMU: ordinary memory, or a file mapped privately */
	RAM_UNUSABLE_ANONYMOUS, /* shared, but no file (memory-backend-ram,share=on) */
	RAM_UNUSABLE_MEMFD,	/* shared, but a file without a name */
	RAM_UNUSABLE_DISK,	/* a named shared file, on a disk file system */
	RAM_UNUSABLE_PARTIAL,	/* not mapped from its beginning, or mapped twice */
	RAM_UNUSABLE_END_
};

#define RAM_FIND_PATH_MAX 256
#define RAM_FIND_ITEMS_MAX 16
#define RAM_FIND_PRIVATE_MIN (32ull << 20) /* bytes; smaller private memory is not worth a word */

struct ram_find_item {
	enum ram_unusable why;
	uint64_t size;		      /* bytes */
	char path[RAM_FIND_PATH_MAX]; /* empty: none */
	char fs[16];		      /* file system type, of RAM_UNUSABLE_DISK */
};

/* What looks like guest RAM and cannot be used. Private memory is listed because a guest without
 * shared RAM must have its RAM there; beside usable blocks it means nothing. */
struct ram_find_report {
	unsigned int usable; /* blocks */
	unsigned int count;  /* of items; more than RAM_FIND_ITEMS_MAX are not recorded */
	struct ram_find_item items[RAM_FIND_ITEMS_MAX];
};

/* Find the RAM blocks, open them and map them whole, MAP_SHARED: read-only, or writable too. *map
 * must be empty; it is the caller's (ram_map_destroy). -ENOTSUP with a text if there are none,
 * or if any RAM could not be used: all or nothing. */
int ram_find(pid_t pid, bool writable, struct ram_map *map, struct errtext *err);

/* The same for a guest whose memory backends QEMU has told: memfds are taken too, and
 * private memory, which is not mapped (ram_private.h). -ENOTSUP also if a backend is not
 * where QEMU says, or not of a kind that can be used. */
int ram_find_known(pid_t pid, bool writable, const struct ram_backends *known, struct ram_map *map,
		   struct errtext *err);

/* Only look. */
int ram_find_survey(pid_t pid, struct ram_find_report *report, struct errtext *err);
/* What in it speaks against the direct lane, and ram_find's text is about; NULL: nothing. */
const struct ram_find_item *ram_find_obstacle(const struct ram_find_report *report);

/* "private memory", "a memfd", ... */
const char *ram_unusable_name(enum ram_unusable why);

/* Look for a process, neither qemu nor self, that has a file of `map` mapped shared and
 * writable: it could write guest RAM unseen. *other is its pid, or 0 if there is none. */
int ram_other_mappers(const struct ram_map *map, pid_t qemu, pid_t self, pid_t *other,
		      struct errtext *err);
