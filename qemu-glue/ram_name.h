// SPDX-License-Identifier: Apache-2.0
// The name of guest RAM that is in a file. Any thread.
#pragma once

#include <stdbool.h>
#include "ram_map.h"

/* QEMU's name of the memory behind a path. It makes "qemu_back_mem.NAME.XXXXXX" itself in a
 * directory it is given (hugetlbfs), with the NAME of older machine types a whole object path.
 * unlinked: the kernel says so at the end of the path. -EINVAL: that is no name for a block. */
int ram_name(const char *path, bool unlinked, char name[RAM_BLOCK_NAME_MAX]);
