// SPDX-License-Identifier: Apache-2.0
// Two threads, one a direction; the client's is cut into messages.
#include "tunnel_filter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"
#include "libvirt_rpc.h"

#define ANSWER_SIZE 16384

struct tunnel_filter {
	/* constant after init */
	struct tunnel_filter_options opt;
	int client, daemon;
	pthread_t calls, answers;
	bool calls_started, answers_started;

	/* the thread of calls */
	struct tunnel_state state;

	pthread_mutex_t lock; /* held while a call is written: a cut comes before it or after it */
	/* under lock */
	bool cut, lost_daemon, prepared;
};

static bool pass(struct tunnel_filter *f, const uint8_t *message, size_t len)
{
	bool ok;

	pthread_mutex_lock(&f->lock);
	ok = !f->cut && libvirt_rpc_write(f->daemon, message, len);
	f->prepared = ok && f->state.prepared;
	pthread_mutex_unlock(&f->lock);
	return ok;
}

static bool pass_next(struct tunnel_filter *f)
{
	struct errtext err = {0};
	size_t len = 0;
	_cleanup_free_ uint8_t *message = libvirt_rpc_read(f->client, &len);

	if (!message)
		return false;
	if (tunnel_judge(&f->state, &f->opt.policy, message, len, &err) < 0) {
		f->opt.refused(f->opt.opaque, err.text);
		return false;
	}
	return pass(f, message, len);
}

static void *calls_main(void *arg)
{
	struct tunnel_filter *f = arg;

	while (pass_next(f))
		;
	shutdown(f->client, SHUT_RD);
	shutdown(f->daemon, SHUT_WR); /* its answers still come */
	return NULL;
}

static void *answers_main(void *arg)
{
	struct tunnel_filter *f = arg;
	uint8_t buf[ANSWER_SIZE];
	ssize_t n;

	while ((n = read(f->daemon, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && !libvirt_rpc_write(f->client, buf, (size_t)n))
			break;
	pthread_mutex_lock(&f->lock);
	f->lost_daemon = true;
	pthread_mutex_unlock(&f->lock);
	shutdown(f->client, SHUT_RDWR);
	shutdown(f->daemon, SHUT_RDWR);
	return NULL;
}

int tunnel_filter_start(int client, int daemon, const struct tunnel_filter_options *options,
			struct tunnel_filter **out, struct errtext *err)
{
	struct tunnel_filter *f = calloc(1, sizeof(*f));
	int ret;

	if (!f) {
		close(client);
		close(daemon);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	f->opt = *options;
	f->client = client;
	f->daemon = daemon;
	pthread_mutex_init(&f->lock, NULL);
	ret = -pthread_create(&f->calls, NULL, calls_main, f);
	f->calls_started = ret == 0;
	if (ret == 0)
		ret = -pthread_create(&f->answers, NULL, answers_main, f);
	f->answers_started = ret == 0;
	if (ret < 0) {
		tunnel_filter_destroy(f);
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	*out = f;
	return 0;
}

void tunnel_filter_cut(struct tunnel_filter *f)
{
	shutdown(f->daemon, SHUT_RDWR); /* whoever writes to it stops */
	shutdown(f->client, SHUT_RDWR);
	pthread_mutex_lock(&f->lock);
	f->cut = true;
	pthread_mutex_unlock(&f->lock);
}

bool tunnel_filter_has_prepared(struct tunnel_filter *f)
{
	bool prepared;

	pthread_mutex_lock(&f->lock);
	prepared = f->prepared;
	pthread_mutex_unlock(&f->lock);
	return prepared;
}

bool tunnel_filter_has_lost_daemon(struct tunnel_filter *f)
{
	bool lost;

	pthread_mutex_lock(&f->lock);
	lost = f->lost_daemon;
	pthread_mutex_unlock(&f->lock);
	return lost;
}

void tunnel_filter_destroy(struct tunnel_filter *f)
{
	if (!f)
		return;
	tunnel_filter_cut(f);
	if (f->calls_started)
		pthread_join(f->calls, NULL);
	if (f->answers_started)
		pthread_join(f->answers, NULL);
	cleanup_close(&f->client);
	cleanup_close(&f->daemon);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
