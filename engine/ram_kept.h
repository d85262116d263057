// SPDX-License-Identifier: Apache-2.0
// Guest RAM that was handed over, and is kept for post-copy: nobody may change it any more.
//
// The files are QEMU's, which ends meanwhile, and anybody's who may write them. What could go wrong
// is that one is emptied, as a whole or in part: its pages then read as zeroes. So the number of
// blocks of each file is noted at the hand-over, and
//
//   a page of zeroes, or a hole   is one only as long as its file has not lost any block since
//   a page with content           leaves through a mapping by which a hole cannot be read: there is
//                                 an error in its place, whenever it was punched
//
// The number is exact because nothing here makes a hole a page: that mapping does not allocate
// either. Rejected: the file's time of change, which QEMU moves by its last writes; a hash of each
// page, which has to be made while the guest stands still.
//
// Any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

/* The guest stands still: note what its files hold, in each block's `kept`. */
int ram_kept_note(struct ram_map *ram, struct errtext *err);
/* -EUCLEAN, with a text, if the file has lost any of it. */
int ram_kept_check(const struct ram_block *b, struct errtext *err);

/* Pages that leave in one piece: are all of them zero? -EUCLEAN, with a text: the file has lost
 * pages, or one of these cannot be read, now or later. */
int ram_kept_zero(const struct ram_block *b, uint64_t first, uint64_t count, bool *zero,
		  struct errtext *err);
/* A stream that was given these pages has failed by `why`, which *err tells. If that is because one
 * of them cannot be read, now or later: -EUCLEAN, and *err tells that instead. Else `why`. */
int ram_kept_explain(const struct ram_block *b, uint64_t first, uint64_t count, int why,
		     struct errtext *err);

/* Put others in place of the blocks' mappings, at the same addresses, by which holes cannot be read
 * (ram_access and the kernel's own accesses fail), for as long as *fd is open, which is the
 * caller's. Nobody may use the blocks meanwhile; they become read-only. */
int ram_kept_seal(const struct ram_map *ram, int *fd, struct errtext *err);
