// SPDX-License-Identifier: Apache-2.0
// Missing pages of another process's RAM blocks: make them so, and fill them by userfaultfd.
//
// The userfaultfd belongs to the other process, is borrowed here, and was made for faults of the
// kernel as well, with MISSING_FEATURES; or with MISSING_TRACKED_FEATURES, if a tracker shall tell
// what the other process has written since. Addresses are the blocks' qemu_addr. A
// page is filled in one step that readers never see the middle of, and one that is there is never
// overwritten. Pages are 4 KiB; on hugetlbfs every range must be of whole huge pages.
//
// Any thread. -ESRCH anywhere: the process, or its mapping, has gone.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/userfaultfd.h>
#include "errtext.h"
#include "kernel_abi.h"
#include "ram_map.h"

#define MISSING_FEATURES                                                                           \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_THREAD_ID)
#define MISSING_TRACKED_FEATURES                                                                   \
	(MISSING_FEATURES | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |                  \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* From now on whoever touches a missing page of any block waits until it is filled, or woken. All
 * blocks or, on failure, none. tracked: what is written from now on is noted, too. */
int missing_register(int uffd, const struct ram_map *ram, bool tracked, struct errtext *err);
/* Missing pages read as zeroes again; all who wait go on. */
int missing_unregister(int uffd, const struct ram_map *ram, struct errtext *err);

/* Give the file's memory of these pages back. -EBUSY if some are there all the same. Through our
 * mapping; needs no userfaultfd. Of private memory only its process can: dropper.h. */
int missing_make(const struct ram_block *b, uint64_t first, uint64_t count, struct errtext *err);

/* Protect `len` bytes of the process's memory, in whole pages, as missing_register does all of it
 * if tracked: what is written of them from now on is noted. */
int missing_protect(int uffd, uint64_t at, uint64_t len, struct errtext *err);

/* Fill pages, and wake who waits for them. Those that are there already are left alone. tracked, as
 * for missing_register: to be filled does not count as to be written. */
int missing_copy(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 const uint8_t *content, bool tracked, struct errtext *err);
/* The same with zeroes; not for hugetlbfs, and not tracked. */
int missing_zero(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 struct errtext *err);
/* Who waits for these pages tries again: if they are still missing that is a new fault. */
int missing_wake(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 struct errtext *err);
