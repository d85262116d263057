// SPDX-License-Identifier: Apache-2.0
// Gathers pages that are to be dropped of memory private to QEMU, and has them dropped.
//
// Streams flush at about the same time, each at the end of its round. The first to come takes what
// all have gathered until then; those that come meanwhile wait, and one of them takes the rest:
//
//   stream 0   adds 1, 2   flush: drops 1, 2 and 3 ......
//   stream 1       adds 3        adds 4   flush: waits    drops 4 and 5
//   stream 2                     adds 5      flush: waits           done by the other
//
// A flush is done when everything up to the length that the list had when it began has gone.
#include "dropper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "missing.h"

/* A peer names the pages: so many wait for a flush, 1 MiB of them, and no more. */
#define RANGES_MAX 65536u

struct list {
	struct iovec *ranges;
	size_t count, room;
};

struct dropper {
	/* constant after init */
	struct dropper_options opt;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct list pending;
	uint64_t added, gone; /* ranges, ever */
	bool busy;	      /* a thread drops, without the lock */
	int result;	      /* the first failure */
	struct errtext why;
};

int dropper_new(const struct dropper_options *options, struct dropper **out, struct errtext *err)
{
	struct dropper *d = calloc(1, sizeof(*d));

	if (!d)
		return errtext_set(err, -ENOMEM, "out of memory");
	d->opt = *options;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	*out = d;
	return 0;
}

void dropper_destroy(struct dropper *d)
{
	if (!d)
		return;
	free(d->pending.ranges);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static int append(struct list *l, uintptr_t at, size_t len)
{
	if (l->ranges && l->count) {
		struct iovec *last = &l->ranges[l->count - 1];

		if ((uintptr_t)last->iov_base + last->iov_len == at) {
			last->iov_len += len;
			return 0;
		}
	}
	if (!l->ranges || l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct iovec *grown = reallocarray(l->ranges, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->ranges = grown;
		l->room = room;
	}
	l->ranges[l->count++] = (struct iovec){(void *)at, len};
	return 1;
}

static int protect_all(const struct dropper *d, const struct list *l, struct errtext *err)
{
	int ret = 0;

	for (size_t i = 0; d->opt.tracked && i < l->count && ret == 0; i++)
		ret = missing_protect(d->opt.uffd, (uintptr_t)l->ranges[i].iov_base,
				      l->ranges[i].iov_len, err);
	return ret;
}

/* Under lock, which is given up meanwhile. */
static void drop_pending(struct dropper *d)
{
	struct list taken = d->pending;
	uint64_t until = d->added;
	struct errtext why = {0};
	int ret;

	d->pending = (struct list){0};
	d->busy = true;
	pthread_mutex_unlock(&d->lock);
	ret = d->opt.drop(d->opt.opaque, taken.ranges, (unsigned int)taken.count, &why);
	if (ret == 0)
		ret = protect_all(d, &taken, &why);
	free(taken.ranges);
	pthread_mutex_lock(&d->lock);
	d->busy = false;
	d->gone = until;
	if (ret < 0) {
		d->result = ret;
		d->why = why;
	}
	pthread_cond_broadcast(&d->changed);
}

/* Under lock: one step nearer to nothing that is pending. */
static void drop_or_wait(struct dropper *d)
{
	if (d->busy)
		pthread_cond_wait(&d->changed, &d->lock);
	else
		drop_pending(d);
}

int dropper_add(struct dropper *d, const struct ram_block *b, uint64_t first, uint64_t count,
		struct errtext *err)
{
	uintptr_t at = b->qemu_addr + (first << RAM_PAGE_SHIFT);
	int ret = 0;

	if (count == 0)
		return 0;
	pthread_mutex_lock(&d->lock);
	while (d->pending.count >= RANGES_MAX && d->result == 0)
		drop_or_wait(d);
	if (d->result == 0) /* else the flush tells */
		ret = append(&d->pending, at, count << RAM_PAGE_SHIFT);
	d->added += ret > 0;
	pthread_mutex_unlock(&d->lock);
	return ret < 0 ? errtext_set(err, ret, "out of memory") : 0;
}

int dropper_flush(struct dropper *d, struct errtext *err)
{
	uint64_t until;
	int ret;

	pthread_mutex_lock(&d->lock);
	until = d->added;
	while (d->gone < until && d->result == 0)
		drop_or_wait(d);
	ret = d->result;
	if (ret < 0)
		errtext_set(err, ret, "%s", d->why.text);
	pthread_mutex_unlock(&d->lock);
	return ret;
}
