// SPDX-License-Identifier: Apache-2.0
// Fuzz: the file of an owed set. What opens can be read, changed and emptied.
#include "owed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void empty(struct owed *o, const struct ram_map *ram)
{
	for (unsigned int i = 0; i < ram->count; i++) {
		uint64_t pages = ram_block_pages(&ram->blocks[i]);
		uint64_t first = owed_next(o, i, 0, pages);

		check(first == pages || owed_test(o, i, first));
		check(first == pages || owed_next_clear(o, i, first, pages) > first);
		check(owed_set(o, i, 0, pages) <= pages);
		check(owed_clear(o, i, 0, pages) == pages);
	}
	check(owed_left(o) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_block blocks[] = {
		{.name = "dimm1", .size = 8u << 21, .page_size = 2u << 20, .fd = -1},
		{.name = "pc.ram", .size = 1000 * 4096, .page_size = 4096, .fd = -1},
	};
	const struct ram_map ram = {.count = 2, .blocks = blocks};
	struct errtext err = {0};
	struct owed *o;
	char path[64];
	int fd = memfd_create("owed", MFD_CLOEXEC), rc;

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = owed_open(path, &ram, &o, &err);
	check(!rc == !err.text[0]);
	if (!rc) {
		(void)owed_sealed(o);
		empty(o, &ram);
		owed_close(o);
	}
	close(fd);
	return 0;
}
