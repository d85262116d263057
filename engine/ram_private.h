// SPDX-License-Identifier: Apache-2.0
// Guest RAM that is private to QEMU: nobody else can map it, so it is copied out of the process, on
// the source, and into it, on the destination.
//
// The kernel copies (process_vm_readv(2)), so a page that cannot be had is an error, not a signal.
// Reading gives a page that was never touched the kernel's one page of zeroes, and costs no memory.
// A process id may belong to another process once QEMU has gone. The block has QEMU's pidfd: who
// must not take another's memory for QEMU's asks afterwards whether QEMU still lives.
//
// Any thread.
#pragma once

#include <stdbool.h>
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
/* Has its process ended, or was it never held (no pidfd)? What was read before is good if not. */
bool ram_private_has_ended(const struct ram_block *b);
/* Bytes of the block that have memory of their own; all of them if that cannot be told. */
uint64_t ram_private_allocated(const struct ram_block *b);
/* Tells found() of all its pages that have memory of their own, in runs, in order. Negative errno:
 * it cannot be told, of some or of all. */
typedef void ram_private_found_fn(void *opaque, uint64_t first, uint64_t count);
int ram_private_look(const struct ram_block *b, ram_private_found_fn *found, void *opaque);

/* Which of `count` pages from `first` have memory of their own, or an entry for the kernel's page
 * of zeroes: has[0..count). Others are missing, where the block is registered for that, and to read
 * one would be to wait for it; to read one of huge pages would give it memory. Of them a page that
 * is only write-protected is not there. Negative errno: it cannot be told. */
int ram_private_has(const struct ram_block *b, uint64_t first, uint64_t count, bool *has);

/* The memory of the block's process, a descriptor that is the caller's. Once that process has ended
 * nobody else's memory can be reached by it. Negative errno; the text is set. */
int ram_private_open(const struct ram_block *b, struct errtext *err);
/* `count` pages from `first`, as they lie in `in`; or zeroes instead. A page that was never touched
 * gets memory, which counts as its process's. -ESRCH: QEMU has gone; -ENOMEM: there is none. The
 * text is set. */
int ram_private_write(const struct ram_block *b, int memory, uint64_t first, uint64_t count,
		      const uint8_t *in, struct errtext *err);
int ram_private_wipe(const struct ram_block *b, int memory, uint64_t first, uint64_t count,
		     struct errtext *err);
