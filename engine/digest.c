// SPDX-License-Identifier: Apache-2.0
// A digest of guest RAM: pieces hashed side by side, then one hash over the pieces' hashes.
#include "digest.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "page_hash.h"
#include "ram_private.h"

#define PIECE (2u << 20)

struct digest_job {
	const struct ram_block *block;
	const atomic_bool *cancel;
	XXH128_canonical_t *pieces; /* one a piece; each written by one thread */
	uint64_t count;
	XXH128_canonical_t zero;    /* of a full piece of zeroes */
	atomic_uint_least64_t next; /* relaxed: only deals out numbers */
	atomic_int result;	    /* first failure */
};

static void put(XXH128_canonical_t *to, const void *data, size_t len)
{
	XXH128_canonicalFromHash(to, XXH3_128bits(data, len));
}

static bool is_hole(const struct ram_block *b, off_t at, size_t len)
{
	off_t data = ram_block_is_private(b) ? at : lseek(b->fd, at, SEEK_DATA);

	return (data < 0 && errno == ENXIO) || (data >= 0 && data >= at + (off_t)len);
}

static int read_piece(const struct ram_block *b, off_t at, size_t len, uint8_t *buf)
{
	if (ram_block_is_private(b))
		return ram_private_read_range(b, (uint64_t)at >> RAM_PAGE_SHIFT,
					      len >> RAM_PAGE_SHIFT, buf, NULL);
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(b->fd, buf + done, len - done, at + (off_t)done);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += n;
	}
	return 0;
}

static int digest_piece(struct digest_job *job, uint64_t piece, uint8_t *buf)
{
	off_t at = (off_t)(piece * PIECE);
	uint64_t left = job->block->size - (uint64_t)at;
	size_t len = left < PIECE ? left : PIECE;
	int ret;

	if (len == PIECE && is_hole(job->block, at, len)) {
		job->pieces[piece] = job->zero;
		return 0;
	}
	ret = read_piece(job->block, at, len, buf);
	if (ret == 0)
		put(&job->pieces[piece], buf, len);
	return ret;
}

static void *digest_worker(void *arg)
{
	struct digest_job *job = arg;
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	int ret = buf ? 0 : -ENOMEM;

	while (ret == 0) {
		uint64_t piece = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);

		if (piece >= job->count)
			return NULL;
		ret = atomic_load(job->cancel) ? -ECANCELED : digest_piece(job, piece, buf);
	}
	atomic_store(&job->result, ret);
	return NULL;
}

static int digest_block(const struct ram_block *b, unsigned int threads, const atomic_bool *cancel,
			XXH128_canonical_t *zero, uint8_t out[16])
{
	uint64_t count = (b->size + PIECE - 1) / PIECE;
	_cleanup_free_ XXH128_canonical_t *pieces = calloc(count, sizeof(*pieces));
	_cleanup_free_ pthread_t *ids = calloc(threads, sizeof(*ids));
	struct digest_job job = {b, cancel, pieces, count, *zero, 0, 0};
	unsigned int started = 0;

	if (!pieces || !ids)
		return -ENOMEM;
	while (started < threads && pthread_create(&ids[started], NULL, digest_worker, &job) == 0)
		started++;
	if (started == 0)
		digest_worker(&job);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	put((XXH128_canonical_t *)out, pieces, count * sizeof(*pieces));
	return atomic_load(&job.result);
}

int digest_ram(const struct ram_map *ram, unsigned int threads, const atomic_bool *cancel,
	       struct wire_digest *out, struct errtext *err)
{
	_cleanup_free_ uint8_t *zeroes = calloc(1, PIECE);
	XXH128_canonical_t zero;

	if (!zeroes)
		return errtext_set(err, -ENOMEM, "out of memory");
	put(&zero, zeroes, PIECE);
	out->count = ram->count;
	for (unsigned int i = 0; i < ram->count; i++) {
		int ret = digest_block(&ram->blocks[i], threads, cancel, &zero, out->digest[i]);

		if (ret < 0)
			return errtext_set(err, ret, "RAM block %s: cannot compute its digest: %s",
					   ram->blocks[i].name, strerror(-ret));
	}
	return 0;
}
