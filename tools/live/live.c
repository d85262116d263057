// SPDX-License-Identifier: Apache-2.0
// The control socket of a running migration: the server.
//
// One thread polls the listener and a few clients, all non-blocking. A client either owes us a
// request or we owe it a reply, never both: while a reply is on its way nothing is read, so that
// what a client can make us keep is one request and one reply. Each of the two has a time limit,
// and who misses it is dropped: nobody can occupy a place for long.
#include "live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "clock.h"
#include "json_field.h"
#include "live_answer.h"
#include "socket.h"

#define ACCEPT_PAUSE_US 100000 /* when there are no descriptors left */

struct client {
	int fd; /* -1: free */
	uint64_t deadline_us;
	char in[LIVE_REQUEST_MAX];
	size_t in_len;
	char *out; /* NULL: no reply is on its way */
	size_t out_len, sent;
	bool last; /* to be dropped after this reply */
};

struct live {
	/* constant while the thread runs */
	struct live_handlers handlers;
	char path[108];
	int listener, wake;
	pthread_t thread;

	/* private to the thread */
	struct client clients[LIVE_CLIENTS_MAX];
	uint64_t accept_after_us;
};

/* ---- one client ---- */

static void drop(struct client *c)
{
	cleanup_close(&c->fd);
	c->fd = -1;
	free(steal_ptr(&c->out));
}

static void renew(const struct live *l, struct client *c)
{
	c->deadline_us = clock_monotonic_us() + (uint64_t)l->handlers.client_ms * 1000;
}

static void begin_reply(const struct live *l, struct client *c, const char *line, size_t len)
{
	c->out = live_answer(&l->handlers, line, len);
	c->out_len = c->out ? strlen(c->out) : 0;
	c->sent = 0;
	renew(l, c);
	if (!c->out)
		drop(c);
}

/* Returns false if there is no whole request yet. */
static bool take_request(const struct live *l, struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t len;

	if (!end) {
		if (c->in_len < sizeof(c->in))
			return false;
		c->last = true; /* too long: where the next one begins is not known */
		c->in_len = 0;
		begin_reply(l, c, "", 0);
		return true;
	}
	len = (size_t)(end - c->in);
	begin_reply(l, c, c->in, len);
	c->in_len -= len + 1;
	memmove(c->in, end + 1, c->in_len);
	return true;
}

/* Returns false if the client must take some of it first, or has gone. */
static bool send_reply(const struct live *l, struct client *c)
{
	ssize_t n = send(c->fd, c->out + c->sent, c->out_len - c->sent, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop(c);
		return false;
	}
	c->sent += (size_t)n;
	if (c->sent < c->out_len)
		return true;
	free(steal_ptr(&c->out));
	renew(l, c);
	if (c->last)
		drop(c);
	return !c->last;
}

static void work_on(const struct live *l, struct client *c)
{
	while (c->fd >= 0 && (c->out ? send_reply(l, c) : take_request(l, c)))
		;
}

static void read_more(const struct live *l, struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->in_len += (size_t)n;
	work_on(l, c);
}

/* ---- the thread ---- */

static bool is_root(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0;
}

static struct client *free_place(struct live *l)
{
	for (unsigned int i = 0; i < LIVE_CLIENTS_MAX; i++)
		if (l->clients[i].fd < 0)
			return &l->clients[i];
	return NULL;
}

static void accept_client(struct live *l)
{
	struct client *c = free_place(l);
	_cleanup_close_ int fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
		l->accept_after_us = clock_monotonic_us() + ACCEPT_PAUSE_US;
	if (fd < 0 || !c || !is_root(fd))
		return;
	c->fd = steal_fd(&fd);
	c->in_len = 0;
	c->last = false;
	renew(l, c);
}

/* Fills in what to wait for; returns until when, in microseconds of CLOCK_MONOTONIC. */
static uint64_t prepare_poll(struct live *l, struct pollfd p[2 + LIVE_CLIENTS_MAX])
{
	uint64_t until = UINT64_MAX, now = clock_monotonic_us();
	bool pausing = now < l->accept_after_us;

	p[0] = (struct pollfd){.fd = l->wake, .events = POLLIN};
	p[1] = (struct pollfd){.fd = free_place(l) && !pausing ? l->listener : -1,
			       .events = POLLIN};
	if (pausing)
		until = l->accept_after_us;
	for (unsigned int i = 0; i < LIVE_CLIENTS_MAX; i++) {
		const struct client *c = &l->clients[i];

		p[2 + i] = (struct pollfd){.fd = c->fd, .events = c->out ? POLLOUT : POLLIN};
		if (c->fd >= 0 && c->deadline_us < until)
			until = c->deadline_us;
	}
	return until;
}

static int milliseconds_until(uint64_t until)
{
	uint64_t now = clock_monotonic_us();

	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

static void serve_client(const struct live *l, struct client *c, short events)
{
	if (events && c->out)
		work_on(l, c);
	else if (events)
		read_more(l, c);
	if (c->fd >= 0 && clock_monotonic_us() >= c->deadline_us)
		drop(c);
}

static void *live_main(void *arg)
{
	struct pollfd p[2 + LIVE_CLIENTS_MAX];
	struct live *l = arg;

	for (;;) {
		uint64_t until = prepare_poll(l, p);

		if (poll(p, sizeof(p) / sizeof(*p), milliseconds_until(until)) < 0)
			continue; /* a signal */
		if (p[0].revents)
			return NULL;
		for (unsigned int i = 0; i < LIVE_CLIENTS_MAX; i++)
			if (p[2 + i].fd >= 0)
				serve_client(l, &l->clients[i], p[2 + i].revents);
		if (p[1].revents)
			accept_client(l);
	}
}

/* ---- start and stop ---- */

static int start(struct live *l, const char *path, struct errtext *err)
{
	int ret;

	if (strlen(path) >= sizeof(l->path))
		return errtext_set(err, -ENAMETOOLONG, "%s: too long for a UNIX socket", path);
	strcpy(l->path, path);
	l->wake = eventfd(0, EFD_CLOEXEC);
	if (l->wake < 0)
		return errtext_set(err, -errno, "%s: eventfd: %s", l->path, strerror(errno));
	ret = socket_unix_listen(l->path, LIVE_CLIENTS_MAX, &l->listener, err);
	if (ret == 0)
		ret = -pthread_create(&l->thread, NULL, live_main, l);
	return ret < 0 ? errtext_set(err, ret, "%s: cannot start a thread: %s", l->path,
				     strerror(-ret))
		       : 0;
}

static void release(struct live *l)
{
	for (unsigned int i = 0; i < LIVE_CLIENTS_MAX; i++)
		drop(&l->clients[i]);
	if (l->listener >= 0)
		unlink(l->path);
	cleanup_close(&l->listener);
	cleanup_close(&l->wake);
	free(l);
}

int live_start(const char *path, const struct live_handlers *handlers, struct live **out,
	       struct errtext *err)
{
	struct live *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return errtext_set(err, -ENOMEM, "out of memory");
	l->handlers = *handlers;
	if (l->handlers.client_ms == 0)
		l->handlers.client_ms = LIVE_CLIENT_MS;
	l->listener = l->wake = -1;
	for (unsigned int i = 0; i < LIVE_CLIENTS_MAX; i++)
		l->clients[i].fd = -1;
	ret = start(l, path, err);
	if (ret < 0) {
		release(l);
		return ret;
	}
	*out = l;
	return 0;
}

void live_stop(struct live *l)
{
	if (!l)
		return;
	eventfd_write(l->wake, 1);
	pthread_join(l->thread, NULL);
	release(l);
}
