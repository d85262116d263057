// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream: strained whole, in pieces, and again. The first byte of the input is the
// size of the pieces.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "ram_map.h"
#include "strainer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct kept {
	uint8_t *at;
	size_t n, room;
};

/* A page's name makes a stream longer, by no more than 255 for each of its 9 bytes or more. */
static struct kept kept_new(size_t of)
{
	struct kept k = {.room = 30 * of + 1};

	k.at = malloc(k.room);
	if (!k.at)
		abort();
	return k;
}

static int keep(void *opaque, const uint8_t *at, size_t n)
{
	struct kept *k = opaque;

	if (n == 0 || n > k->room - k->n)
		abort();
	memcpy(k->at + k->n, at, n);
	k->n += n;
	return 0;
}

static int strain_piece(struct strainer *s, const uint8_t *at, size_t n, struct kept *kept)
{
	_cleanup_free_ uint8_t *copy = malloc(n);
	struct errtext err = {0};
	int ret;

	if (!copy)
		abort();
	memcpy(copy, at, n);
	ret = strainer_strain(s, copy, n, keep, kept, &err);
	if (ret > 0 || (ret < 0) != (err.text[0] != '\0'))
		abort();
	return ret;
}

static int strain(const struct ram_map *drop, const uint8_t *at, size_t n, size_t piece,
		  struct kept *kept, struct strainer_stats *stats)
{
	struct strainer *s;
	int ret = strainer_new(drop, &s);

	if (ret < 0)
		abort();
	while (n && ret == 0) {
		size_t some = piece < n ? piece : n;

		ret = strain_piece(s, at, some, kept);
		at += some;
		n -= some;
	}
	strainer_stats(s, stats);
	if (stats->kept_bytes != kept->n)
		abort();
	strainer_destroy(s);
	return ret;
}

static void same_in_pieces(const struct ram_map *drop, const uint8_t *data, size_t size,
			   size_t piece)
{
	struct kept whole = kept_new(size), cut = kept_new(size), again = kept_new(30 * size + 1);
	struct strainer_stats stats, ignored;
	int ret = strain(drop, data, size, size, &whole, &stats);

	if (strain(drop, data, size, piece, &cut, &ignored) != ret || cut.n != whole.n ||
	    memcmp(cut.at, whole.at, whole.n) != 0)
		abort();
	/* What is kept is a stream, and nothing of it is dropped. */
	if (ret == 0 &&
	    (strain(drop, whole.at, whole.n, whole.n, &again, &stats) < 0 || again.n != whole.n ||
	     memcmp(again.at, whole.at, whole.n) != 0 || stats.data_pages || stats.zero_pages))
		abort();
	free(whole.at);
	free(cut.at);
	free(again.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_block blocks[] = {
		{.name = "pc.ram", .size = 4 * RAM_PAGE_SIZE, .page_size = RAM_PAGE_SIZE},
		{.name = "ram-node0", .size = 2 * RAM_PAGE_SIZE, .page_size = RAM_PAGE_SIZE},
	};
	const struct ram_map drop = {.count = 2, .blocks = blocks}, none = {0};

	if (size < 2)
		return 0;
	same_in_pieces(&drop, data + 1, size - 1, data[0] + 1u);
	same_in_pieces(&none, data + 1, size - 1, data[0] + 1u);
	return 0;
}
