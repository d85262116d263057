// SPDX-License-Identifier: Apache-2.0
// Give memory of another process back to the kernel: only a thread of that process can.
//
// As borrow.h, whose rules hold.
#pragma once

#include <sys/uio.h>
#include "borrow.h"

/* madvise(MADV_DONTNEED) of all ranges, also of memory that is locked (mlock(2)). Addresses and
 * lengths are in whole pages of what lies there. Negative errno: some may have gone. To be called
 * between borrow_begin and borrow_end. */
int borrow_drop(struct borrow *b, const struct iovec *ranges, unsigned int n);
