// SPDX-License-Identifier: Apache-2.0
// Takes the place of libvirt's client library: all that comes is read, pings are answered.
#include "stand_in.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"
#include "libvirt_rpc.h"

struct stand_in {
	/* constant after init */
	int fd;
	void (*gone)(void *opaque);
	void *opaque;
	pthread_t thread;

	atomic_bool leaves;
	bool left; /* private to who leaves */
};

static bool answer_next(const struct stand_in *s)
{
	size_t len;
	_cleanup_free_ uint8_t *message = libvirt_rpc_read(s->fd, &len);
	uint8_t pong[LIBVIRT_RPC_HEADER_SIZE];

	if (!message)
		return false;
	return !libvirt_rpc_pong(message, len, pong) ||
	       libvirt_rpc_write(s->fd, pong, sizeof(pong));
}

static void *stand_in_main(void *arg)
{
	struct stand_in *s = arg;

	while (answer_next(s))
		;
	if (!atomic_load_explicit(&s->leaves, memory_order_relaxed))
		s->gone(s->opaque);
	return NULL;
}

int stand_in_new(int fd, void (*gone)(void *opaque), void *opaque, struct stand_in **out,
		 struct errtext *err)
{
	struct stand_in *s = calloc(1, sizeof(*s));
	int ret;

	if (!s) {
		close(fd);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	s->fd = fd;
	s->gone = gone;
	s->opaque = opaque;
	ret = -pthread_create(&s->thread, NULL, stand_in_main, s);
	if (ret < 0) {
		close(fd);
		free(s);
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	*out = s;
	return 0;
}

void stand_in_leave(struct stand_in *s)
{
	if (!s || s->left)
		return;
	s->left = true;
	atomic_store_explicit(&s->leaves, true, memory_order_relaxed);
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
}

void stand_in_destroy(struct stand_in *s)
{
	stand_in_leave(s);
	free(s);
}
