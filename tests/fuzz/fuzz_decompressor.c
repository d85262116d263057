// SPDX-License-Identifier: Apache-2.0
// Fuzz: what follows the head of a ZSTD frame. Whatever comes, nothing is written but the pages
// that the head names, and it is those or an error.
//
// The first byte is the number of pages, less one.
#include "decompressor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "ram_map.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t pages;
	struct decompressor *d;
	struct errtext err = {0};
	uint8_t *to; /* exactly as large as it has to be: ASan looks behind it */
	int ret;

	if (size < 2 || size > (size_t)WIRE_ZSTD_PAGES_MAX << RAM_PAGE_SHIFT)
		return 0;
	pages = data[0] % WIRE_ZSTD_PAGES_MAX + 1;
	to = malloc((size_t)pages << RAM_PAGE_SHIFT);
	check(to && decompressor_new(&d) == 0);
	memcpy(decompressor_in(d), data + 1, size - 1);
	ret = decompressor_run(d, (uint32_t)size - 1, pages, to, &err);
	check(ret == 0 || ret == -EPROTO);
	check((ret == 0) == (err.text[0] == '\0'));
	decompressor_destroy(d);
	free(to);
	return 0;
}
