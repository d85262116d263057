// SPDX-License-Identifier: Apache-2.0
// Which host this is.
#include "this_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "clock.h"
#include "guest_dir.h"
#include "libvirt_address.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define KNOWN GUEST_DIR_ROOT "/host"
#define PATIENCE_US 1000000

/* ---- the file ---- */

/* The one line of a file. */
static int read_uuid(const char *path, uint8_t uuid[16])
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char text[37];

	if (!f)
		return -errno;
	return fscanf(f, "%36s", text) == 1 && uuid_parse(text, uuid) == 0 ? 0 : -EPROTO;
}

/* That it is not known next time is no harm. */
static void write_uuid(const uint8_t uuid[16])
{
	char text[37], fresh[64];
	bool written;
	FILE *f;

	snprintf(fresh, sizeof(fresh), KNOWN ".%d", getpid());
	mkdir(GUEST_DIR_ROOT, 0711);
	f = fopen(fresh, "we");
	if (!f)
		return;
	uuid_unparse_lower(uuid, text);
	written = fprintf(f, "%s\n", text) > 0;
	if (fclose(f) != 0 || !written || rename(fresh, KNOWN) < 0)
		unlink(fresh);
}

/* ---- libvirt ---- */

/* Of two threads: the last one to leave frees it. */
struct question {
	this_host_open_fn *open;
	char libvirt_socket[108];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool answered, left;
	int ret;
	uint8_t uuid[16];
	struct errtext err;
};

static void leave(struct question *q)
{
	bool last = q->left;

	q->left = true;
	pthread_mutex_unlock(&q->lock);
	if (!last)
		return;
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static void *ask(void *arg)
{
	struct question *q = arg;
	struct host *host = NULL;
	struct errtext err = {0};
	uint8_t uuid[16];
	int ret = q->open(q->libvirt_socket, &host, &err);

	if (ret == 0)
		ret = host_uuid(host, uuid, &err);
	host_close(host);
	if (ret == 0)
		write_uuid(uuid);
	pthread_mutex_lock(&q->lock);
	q->ret = ret;
	q->err = err;
	if (ret == 0)
		memcpy(q->uuid, uuid, sizeof(uuid));
	q->answered = true;
	pthread_cond_signal(&q->changed);
	leave(q);
	return NULL;
}

static struct question *begin(this_host_open_fn *open, const char *libvirt_socket)
{
	struct question *q = calloc(1, sizeof(*q));
	pthread_t thread;

	if (!q)
		return NULL;
	q->open = open;
	snprintf(q->libvirt_socket, sizeof(q->libvirt_socket), "%s", libvirt_socket);
	pthread_mutex_init(&q->lock, NULL);
	clock_cond_init(&q->changed);
	if (pthread_create(&thread, NULL, ask, q) != 0) {
		free(q);
		return NULL;
	}
	pthread_detach(thread);
	return q;
}

/* For as long as it takes, or, if it is known already, a second. */
static int await(struct question *q, bool known, uint8_t uuid[16], struct errtext *err)
{
	const struct timespec end = clock_timespec(clock_monotonic_us() + PATIENCE_US);
	int ret = -ETIMEDOUT;

	pthread_mutex_lock(&q->lock);
	while (!q->answered) {
		if (!known)
			pthread_cond_wait(&q->changed, &q->lock);
		else if (pthread_cond_timedwait(&q->changed, &q->lock, &end) == ETIMEDOUT)
			break;
	}
	if (q->answered)
		ret = q->ret < 0 ? errtext_set(err, q->ret, "%s", q->err.text) : 0;
	if (ret == 0)
		memcpy(uuid, q->uuid, sizeof(q->uuid));
	leave(q);
	return ret;
}

int this_host(this_host_open_fn *open, const char *libvirt_socket, struct door_host *self,
	      struct errtext *err)
{
	int ret = read_uuid(BOOT_ID, self->boot_id);
	bool known;
	struct question *q;
	struct errtext why = {0};

	if (ret < 0)
		return errtext_set(err, ret, BOOT_ID ": %s", strerror(-ret));
	if (libvirt_address_identity(libvirt_socket, self->uuid) == 0)
		return 0; /* not the host's own daemon, whose UUID is kept */
	known = read_uuid(KNOWN, self->uuid) == 0;
	q = begin(open, libvirt_socket);
	if (!q)
		return errtext_set(err, -EAGAIN, "cannot start a thread");
	ret = await(q, known, self->uuid, &why);
	return ret < 0 && !known ? errtext_set(err, ret, "%s", why.text) : 0;
}
