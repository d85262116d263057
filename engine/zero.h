// SPDX-License-Identifier: Apache-2.0
// Is a page all zero bytes?
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "ram_map.h"

/* content is page-aligned and may change under our eyes. The first words decide for nearly every
 * page in use; the overlapping compare lets libc's vectorised memcmp do the rest. */
static inline bool zero_page(const uint8_t *content)
{
	const uint64_t *w = (const uint64_t *)content;

	if (w[0] | w[1] | w[2] | w[3])
		return false;
	return memcmp(content, content + 32, RAM_PAGE_SIZE - 32) == 0;
}
