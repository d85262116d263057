// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream through the strainer.
//
// bench-strain BLOCK=BYTES... <STREAM >KEPT    what is left of a stream without the pages of these
//                                              blocks; numbers go to standard error
// bench-strain GIB PIECE_KIB                   a made-up stream of GIB GiB in pieces of PIECE_KIB
//                                              KiB: GB/s, while one page in 1000 is kept
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"
#include "ram_map.h"
#include "strainer.h"

#define STREAM_PIECE (256u << 10)
#define BLOCK_PAGES 16384u /* then the made-up stream begins anew, at its first page */

static void check(int ret, const struct errtext *err)
{
	if (ret == 0)
		return;
	fprintf(stderr, "%s\n", err->text[0] ? err->text : strerror(-ret));
	exit(1);
}

static void add_block(struct ram_map *map, const char *name, uint64_t size)
{
	struct ram_block block = {.size = size, .page_size = RAM_PAGE_SIZE, .fd = -1};
	struct errtext err = {0};

	snprintf(block.name, sizeof(block.name), "%s", name);
	check(ram_map_add(map, &block, &err), &err);
}

static void show(const struct strainer *s, double seconds)
{
	struct strainer_stats stats;

	strainer_stats(s, &stats);
	fprintf(stderr,
		"read %" PRIu64 " bytes, kept %" PRIu64 ", dropped %" PRIu64 " pages and %" PRIu64
		" zero pages%s; %.2f GB/s\n",
		stats.read_bytes, stats.kept_bytes, stats.data_pages, stats.zero_pages,
		stats.past_ram ? ", device state too" : "",
		(double)stats.read_bytes / seconds / 1e9);
}

/* ---- a stream from a file ---- */

static int to_output(void *opaque, const uint8_t *at, size_t n)
{
	(void)opaque;
	return fwrite(at, 1, n, stdout) == n ? 0 : -EIO;
}

static void strain_input(struct strainer *s)
{
	static uint8_t in[STREAM_PIECE];
	struct errtext err = {0};
	ssize_t n;

	while ((n = read(STDIN_FILENO, in, sizeof(in))) > 0)
		check(strainer_strain(s, in, (size_t)n, to_output, NULL, &err), &err);
	if (fflush(stdout))
		check(-errno, &err);
}

/* ---- a made-up one ---- */

struct made {
	uint8_t *bytes;
	size_t size, first_page; /* the pages from here on may come again and again */
};

static void put(struct made *m, const void *bytes, size_t n)
{
	memcpy(m->bytes + m->size, bytes, n);
	m->size += n;
}

static void put_be64(struct made *m, uint64_t value)
{
	value = htobe64(value);
	put(m, &value, sizeof(value));
}

static void put_name(struct made *m, const char *name)
{
	const uint8_t n = (uint8_t)strlen(name);

	put(m, &n, 1);
	put(m, name, n);
}

static void make(struct made *m)
{
	static const uint8_t page[RAM_PAGE_SIZE] = {1};
	bool named = false;

	m->bytes = malloc((size_t)BLOCK_PAGES * (RAM_PAGE_SIZE + 64) + 4096);
	if (!m->bytes)
		exit(1);
	put(m, "QEVM\0\0\0\3\1\0\0\0\2\3ram\0\0\0\0\0\0\0\4", 25);
	put_be64(m, (uint64_t)(BLOCK_PAGES + 1) * RAM_PAGE_SIZE | 4);
	put_name(m, "pc.ram");
	put_be64(m, (uint64_t)BLOCK_PAGES * RAM_PAGE_SIZE);
	put_name(m, "vga");
	put_be64(m, RAM_PAGE_SIZE);
	m->first_page = m->size;
	for (uint64_t i = 0; i < BLOCK_PAGES; i++) {
		bool kept = i % 1000 == 999;

		put_be64(m, (kept ? 0 : i * RAM_PAGE_SIZE) | (kept || !named ? 8 : 0x28));
		if (kept || !named)
			put_name(m, kept ? "vga" : "pc.ram");
		named = !kept;
		put(m, page, sizeof(page));
	}
}

static int to_nowhere(void *opaque, const uint8_t *at, size_t n)
{
	(void)opaque;
	(void)at;
	(void)n;
	return 0;
}

static void strain_made(struct strainer *s, const struct made *m, uint64_t bytes, size_t piece)
{
	struct errtext err = {0};
	size_t at = 0;

	for (uint64_t done = 0; done < bytes;) {
		size_t n = piece < m->size - at ? piece : m->size - at;

		check(strainer_strain(s, m->bytes + at, n, to_nowhere, NULL, &err), &err);
		done += n;
		at = at + n < m->size ? at + n : m->first_page;
	}
}

int main(int argc, char **argv)
{
	bool files = argc > 1 && strchr(argv[1], '=');
	struct ram_map drop = {0};
	struct made made = {0};
	struct strainer *s;
	uint64_t start;

	if (!files && argc != 3) {
		fprintf(stderr, "usage: bench-strain BLOCK=BYTES... | GIB PIECE_KIB\n");
		return 1;
	}
	for (int i = 1; files && i < argc; i++) {
		char *name = strtok(argv[i], "="), *size = strtok(NULL, "=");

		add_block(&drop, name ? name : "", size ? strtoull(size, NULL, 10) : 0);
	}
	if (!files) {
		add_block(&drop, "pc.ram", (uint64_t)BLOCK_PAGES * RAM_PAGE_SIZE);
		make(&made);
	}
	if (strainer_new(&drop, &s) < 0)
		return 1;
	start = clock_monotonic_us();
	if (files)
		strain_input(s);
	else
		strain_made(s, &made, strtoull(argv[1], NULL, 10) << 30,
			    strtoul(argv[2], NULL, 10) << 10);
	show(s, (double)(clock_monotonic_us() - start) / 1e6);
	strainer_destroy(s);
	ram_map_destroy(&drop);
	free(made.bytes);
	return 0;
}
