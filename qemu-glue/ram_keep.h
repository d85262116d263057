// SPDX-License-Identifier: Apache-2.0
// Guest RAM that outlives QEMU and a killed dray: held open by another process, found again by
// what was written down of it.
//
//   dray migrate                 guard                        dray recover
//   ram_keep_describe            starts with them open:
//   ram_keep_inherit  ---------> nothing to do, but live
//   ram_keep_to_json -> record                           ---> ram_keep_from_json
//   killed                       /proc/GUARD/fd/N <---------- ram_reopen
//
// The holder needs the same descriptors under the same numbers, and no code of its own. Private
// memory nobody can hold but QEMU: what is written down of it is which process that is, and where.
// Any thread; no shared state.
#pragma once

#include <json-c/json.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "ram_backends.h"
#include "ram_map.h"

struct ram_keep_block {
	char name[RAM_BLOCK_NAME_MAX];
	uint64_t size;	    /* bytes */
	uint32_t page_size; /* bytes */
	int fd;		    /* number in the holder */
	uint64_t dev, ino;  /* of the file */
	/* Of private memory, instead of these three: the process, 0: it is not; when that was
	 * started (process.h); and where it has the memory. */
	pid_t private_to;
	uint64_t started, addr;
	uint64_t kept; /* as in ram_block, as sentinel */
	uint64_t sentinel;
};

struct ram_keep {
	unsigned int count;
	struct ram_keep_block *blocks; /* owned */
};

/* Write down the files of `map` and the numbers under which we have them open. *keep must be empty;
 * ram_keep_destroy. -EBADF: a block has no file open, or as a standard stream; -ESRCH: the process
 * whose private memory it is has ended. */
int ram_keep_describe(const struct ram_map *map, struct ram_keep *keep, struct errtext *err);
/* Write down `kept` and `sentinel` of these blocks; and the reverse, into blocks that were found
 * anew. What the other does not have stays as it is. */
void ram_keep_note(const struct ram_map *map, struct ram_keep *keep);
void ram_keep_recall(const struct ram_keep *keep, struct ram_map *map);
/* Let the process that is to be spawned with `actions` hold them: same numbers, open beyond its
 * exec. 0 or negative errno. */
int ram_keep_inherit(const struct ram_keep *keep, posix_spawn_file_actions_t *actions);
void ram_keep_destroy(struct ram_keep *keep);
/* A pidfd, the caller's, of the process that has the private memory. -ENOENT: there is no private
 * memory; -ESRCH: that process has ended. */
int ram_keep_hold_qemu(const struct ram_keep *keep, int *pidfd, struct errtext *err);

/* The private blocks, as QEMU's monitor told of them: for one that cannot be asked again. */
void ram_keep_backends(const struct ram_keep *keep, struct ram_backends *out);

/* An array with an object per block: the caller's (json_object_put). */
json_object *ram_keep_to_json(const struct ram_keep *keep);
/* The reverse, of what may be anything; *keep must be empty. -EINVAL with a text. */
int ram_keep_from_json(json_object *array, struct ram_keep *keep, struct errtext *err);

/* Open and map (shared, read-only) what process `holder` holds; it may be our own. *map must be
 * empty; it is the caller's (ram_map_destroy), and independent of the holder. Its blocks have no
 * qemu_addr, but for private ones, which are QEMU's whoever the holder is. All or nothing. -ESRCH:
 * the holder, or that QEMU, has gone; -ESTALE: it holds other files than those written down (its id
 * was reused, say). */
int ram_reopen(pid_t holder, const struct ram_keep *keep, struct ram_map *map, struct errtext *err);
/* The same from a process that has these files open under whatever numbers: QEMU itself, which was
 * started then (process.h). -ESRCH: it has gone, or is another one by now. */
int ram_reopen_found(pid_t holder, uint64_t started, const struct ram_keep *keep,
		     struct ram_map *map, struct errtext *err);
/* The same blocks of a QEMU that has ended, with all of its memory: that none of them can be read
 * is what the destination has to hear (ram_kept.h). */
int ram_reopen_ended(const struct ram_keep *keep, struct ram_map *map, struct errtext *err);
