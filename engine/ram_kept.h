// SPDX-License-Identifier: Apache-2.0
// Guest RAM that was handed over, and is kept for post-copy: nobody may change it any more.
//
// The files are QEMU's, which ends meanwhile, and anybody's who may write them. What could go wrong
// is that one is emptied, as a whole or in part: its pages then read as zeroes. So the number of
// blocks of each file is noted at the hand-over, and
//
//   a page of zeroes, or a hole   is one only as long as its file has not lost any content since
//   a page with content           leaves through a mapping by which a hole cannot be read: there is
//                                 an error in its place, whenever it was punched
//
// Nothing here makes a hole a page: that mapping does not allocate either. But the number may fall
// by itself: a page of a tmpfs that was only ever read is clean, and Linux drops such pages when
// it needs memory (shmem_recalc_inode says so; seen with 6.18: QEMU reads every page of zeroes
// when it restores a guest). They were zeroes and still are. So one page with content is
// remembered, the first of the file: whoever empties a file begins at its start, and a page that
// was ever written stays. As long as that is there, fewer blocks are no loss.
//
// Private memory lives in QEMU alone, which stands still and is kept from ending (gate.h). It is
// copied out of the process, and an error in place of a page says that QEMU has ended all the same.
//
// Rejected: the file's time of change, which QEMU moves by its last writes; a hash of each page,
// which has to be made while the guest stands still.
//
// Any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

/* Find a page with content in each block, before the guest is stopped: that may take a while where
 * much of the memory is zeroes. */
int ram_kept_choose(struct ram_map *ram, struct errtext *err);
/* The guest stands still: note what its files hold, in each block's `kept`. */
int ram_kept_note(struct ram_map *ram, struct errtext *err);
/* -EUCLEAN, with a text, if the file has lost content, or QEMU, whose private memory it is, has
 * ended. */
int ram_kept_check(const struct ram_block *b, struct errtext *err);

/* Pages that leave in one piece: are all of them zero? -EUCLEAN, with a text: the file has lost
 * pages, or one of these cannot be read, now or later. */
int ram_kept_zero(const struct ram_block *b, uint64_t first, uint64_t count, bool *zero,
		  struct errtext *err);
/* Copy pages of a private block to `out`. -EUCLEAN, with a text: QEMU has ended, or one of them
 * cannot be had, now or later. */
int ram_kept_read(const struct ram_block *b, uint64_t first, uint64_t count, uint8_t *out,
		  struct errtext *err);
/* A stream that was given these pages has failed by `why`, which *err tells. If that is because one
 * of them cannot be read, now or later: -EUCLEAN, and *err tells that instead. Else `why`. */
int ram_kept_explain(const struct ram_block *b, uint64_t first, uint64_t count, int why,
		     struct errtext *err);

/* Put others in place of the mappings of the blocks that have files, at the same addresses, by
 * which holes cannot be read (ram_access and the kernel's own accesses fail), for as long as *fd is
 * open, which is the caller's. Nobody may use the blocks meanwhile; they become read-only. */
int ram_kept_seal(const struct ram_map *ram, int *fd, struct errtext *err);
