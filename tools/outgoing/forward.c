// SPDX-License-Identifier: Apache-2.0
// A UNIX socket on the source whose one connection is carried to the destination.
#include "forward.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"
#include "fs_user.h"
#include "pump.h"
#include "return_path.h"
#include "strainer.h"

struct forward {
	/* constant after init */
	struct forward_options opt;
	char path[108];
	int listen_fd;
	pthread_t thread;
	bool started;
	struct strainer *strainer; /* NULL: all passes. The pump's thread strains */

	/* the thread's, then the pump's */
	struct return_path return_path;
	struct errtext misfit; /* why it could not be strained */

	pthread_mutex_t lock;
	/* under lock */
	struct pump *pump;
	bool going; /* may be read */
	bool hastened;
	bool cut;
};

static void pump_ended(void *arg, int result)
{
	struct forward *f = arg;
	const char *text = f->misfit.text[0] ? f->misfit.text : strerror(-result);

	f->opt.ended(f->opt.opaque, result, result ? text : "");
}

_Static_assert(RETURN_PATH_MAX <= PUMP_ANSWER_MAX, "the pump has room for what QEMU is told");

static size_t answer(void *arg, const uint8_t *in, size_t n, uint8_t *out)
{
	struct forward *f = arg;

	/* RAM that is kept is no end of the stream, whatever the guest wrote there. */
	if (f->strainer && !strainer_is_past_ram(f->strainer))
		n = 0;
	return return_path_answer(&f->return_path, in, n, out);
}

static int strain(void *arg, const uint8_t *in, size_t n,
		  int (*keep)(void *opaque, const uint8_t *at, size_t n), void *opaque)
{
	struct forward *f = arg;

	return strainer_strain(f->strainer, in, n, keep, opaque, &f->misfit);
}

/* What QEMU waits for before anything has come: it spins until then, so it does not wait for the
 * connection to the destination. An empty socket has room for it. */
static void answer_early(struct forward *f, int local)
{
	uint8_t said[RETURN_PATH_MAX];
	size_t n = return_path_answer(&f->return_path, NULL, 0, said);

	if (n && send(local, said, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
		f->return_path.acked = false; /* the pump will see what is wrong */
}

static int start_pump(struct forward *f, struct line near, struct line far, struct errtext *err)
{
	bool qemu_stream = f->opt.kind == WIRE_KIND_QEMU_STREAM;
	struct pump_options options = {.ended = pump_ended,
				       .arg = f,
				       .pacer = f->opt.pacer,
				       .paced = qemu_stream,
				       .answer = qemu_stream ? answer : NULL,
				       .answer_arg = f,
				       .strain = f->strainer ? strain : NULL,
				       .strain_arg = f};
	int ret;

	pthread_mutex_lock(&f->lock);
	options.halted = f->strainer && !f->going;
	ret = f->cut ? -ECANCELED : pump_start(near, far, &options, &f->pump, err);
	if (ret == 0 && f->hastened)
		pump_hasten(f->pump);
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static int join_ends(struct forward *f, int local, struct errtext *err)
{
	_cleanup_line_ struct line near = line_plain(local);
	_cleanup_line_ struct line far = LINE_NONE;
	int ret;

	if (f->opt.kind == WIRE_KIND_QEMU_STREAM)
		answer_early(f, near.fd);
	if (f->opt.begun)
		f->opt.begun(f->opt.opaque);
	ret = door_dial(f->opt.peer, f->opt.kind, 0, &far, NULL, err);
	if (ret == 0)
		ret = start_pump(f, near, far, err);
	if (ret == 0) {
		line_steal(&near);
		line_steal(&far);
	}
	return ret;
}

static void *forward_main(void *arg)
{
	struct forward *f = arg;
	struct errtext err = {0};
	int local = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int ret = local < 0 ? -ECANCELED : join_ends(f, local, &err);

	if (ret < 0)
		f->opt.ended(f->opt.opaque, ret, err.text);
	return NULL;
}

/* In a directory of QEMU's user, perhaps: made as that user, so that it is theirs from the start,
 * and no link can lead root elsewhere. */
static int listen_as_owner(struct forward *f, struct errtext *err)
{
	_cleanup_fs_user_ uid_t before = fs_user_become(f->opt.owner);
	int ret = socket_unix_listen(f->opt.path, 1, &f->listen_fd, err);

	if (ret == 0)
		snprintf(f->path, sizeof(f->path), "%s", f->opt.path);
	return ret;
}

static void remove_socket(struct forward *f)
{
	_cleanup_fs_user_ uid_t before = fs_user_become(f->opt.owner);

	if (f->path[0])
		unlink(f->path);
}

int forward_new(const struct forward_options *options, struct forward **out, struct errtext *err)
{
	struct forward *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return errtext_set(err, -ENOMEM, "out of memory");
	f->opt = *options;
	f->return_path.acknowledge = options->acknowledge;
	f->listen_fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	ret = options->strain ? strainer_new(options->strain, &f->strainer) : 0;
	if (ret == 0)
		ret = listen_as_owner(f, err);
	if (ret == 0)
		ret = -pthread_create(&f->thread, NULL, forward_main, f);
	if (ret < 0) {
		forward_destroy(f);
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	f->started = true;
	*out = f;
	return 0;
}

void forward_go(struct forward *f)
{
	pthread_mutex_lock(&f->lock);
	f->going = true;
	if (f->pump)
		pump_go(f->pump);
	pthread_mutex_unlock(&f->lock);
}

void forward_hasten(struct forward *f)
{
	pthread_mutex_lock(&f->lock);
	f->hastened = true;
	if (f->pump)
		pump_hasten(f->pump);
	pthread_mutex_unlock(&f->lock);
}

void forward_cut(struct forward *f)
{
	shutdown(f->listen_fd, SHUT_RDWR);
	pthread_mutex_lock(&f->lock);
	f->cut = true;
	if (f->pump)
		pump_stop(f->pump);
	pthread_mutex_unlock(&f->lock);
}

uint64_t forward_bytes(struct forward *f)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&f->lock);
	if (f->pump)
		bytes = pump_bytes_a_to_b(f->pump) + pump_bytes_b_to_a(f->pump);
	pthread_mutex_unlock(&f->lock);
	return bytes;
}

void forward_strained(const struct forward *f, struct strainer_stats *out)
{
	*out = (struct strainer_stats){0};
	if (f->strainer)
		strainer_stats(f->strainer, out);
}

void forward_destroy(struct forward *f)
{
	if (!f)
		return;
	if (f->listen_fd >= 0)
		forward_cut(f);
	if (f->started)
		pthread_join(f->thread, NULL);
	pump_destroy(f->pump);
	strainer_destroy(f->strainer);
	cleanup_close(&f->listen_fd);
	remove_socket(f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
