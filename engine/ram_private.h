// SPDX-License-Identifier: Apache-2.0
// Guest RAM that is private to QEMU: nobody else can map it, so it is copied out of the process.
//
// The kernel copies (process_vm_readv(2)), so a page that cannot be had is an error, not a signal.
// Reading gives a page that was never touched the kernel's one page of zeroes, and costs no memory.
// A process id may belong to another process once QEMU has gone: the caller holds QEMU's pidfd, and
// what was read from a process that has ended meanwhile is of no use to it anyway.
//
// Any thread.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

#define RAM_PRIVATE_PAGES_MAX 64u

/* n (1..RAM_PRIVATE_PAGES_MAX) pages of the block, in the order of their numbers, one after the
 * other to `out`. -ESRCH: QEMU has gone; -EFAULT: a page cannot be had; -EPERM: not root. The text
 * is set. */
int ram_private_read(const struct ram_block *b, const uint64_t *page, unsigned int n, uint8_t *out,
		     struct errtext *err);
/* The same for `count` pages from `first`, any number of them. */
int ram_private_read_range(const struct ram_block *b, uint64_t first, uint64_t count, uint8_t *out,
			   struct errtext *err);
/* Bytes of the block that have memory of their own; all of them if that cannot be told. */
uint64_t ram_private_allocated(const struct ram_block *b);
