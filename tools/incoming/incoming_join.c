// SPDX-License-Identifier: Apache-2.0
// A session's other connections: RAM streams, libvirt's tunnel, QEMU's stream; and recovery.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "libvirt_host.h"
#include "socket.h"
#include "uring_stream.h"

int receiver_new(const struct receiver_options *options, struct receiver **out)
{
	struct receiver *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->opt = *options;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	*out = r;
	return 0;
}

/* ---- sessions ---- */

static struct incoming *session_get(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in;

	pthread_mutex_lock(&r->lock);
	for (in = r->sessions; in; in = in->next)
		if (memcmp(in->session, session, WIRE_SESSION_SIZE) == 0 && !in->ending)
			break;
	if (in)
		in->users++;
	pthread_mutex_unlock(&r->lock);
	return in;
}

bool incoming_known(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in;

	pthread_mutex_lock(&r->lock);
	for (in = r->sessions; in; in = in->next)
		if (memcmp(in->session, session, WIRE_SESSION_SIZE) == 0)
			break;
	pthread_mutex_unlock(&r->lock);
	return in;
}

static void session_put(struct incoming *in)
{
	struct receiver *r = in->receiver;

	pthread_mutex_lock(&r->lock);
	in->users--;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* ---- RAM streams ---- */

/* Waits until RAM is ready for it. False if the session ends first, or has such a stream. */
static bool register_stream(struct incoming *in, struct byte_stream **slot,
			    struct byte_stream *stream)
{
	struct receiver *r = in->receiver;
	bool go = false;

	pthread_mutex_lock(&r->lock);
	while (!in->destination && !in->ending)
		pthread_cond_wait(&r->changed, &r->lock);
	if (!in->ending && !*slot) {
		*slot = stream;
		go = true;
	}
	pthread_mutex_unlock(&r->lock);
	return go;
}

static void unregister_stream(struct incoming *in, struct byte_stream **slot,
			      struct byte_stream *stream)
{
	pthread_mutex_lock(&in->receiver->lock);
	*slot = NULL;
	in->wire_bytes += uring_stream_bytes(stream);
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

int incoming_serve_stream(struct incoming *in, int fd, unsigned int index,
			  struct byte_stream **slots, unsigned int count,
			  int (*run)(struct incoming *in, unsigned int index,
				     struct byte_stream *stream, struct errtext *err),
			  struct errtext *err)
{
	struct byte_stream *stream;
	int ret;

	if (index >= count) {
		close(fd);
		return errtext_set(err, -EPROTO, "connection %u of %u", index, count);
	}
	ret = uring_stream_new(fd, NULL, &stream, err);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	if (register_stream(in, &slots[index], stream)) {
		ret = run(in, index, stream, err);
		unregister_stream(in, &slots[index], stream);
	}
	stream->ops->destroy(stream);
	return ret;
}

static int run_ram(struct incoming *in, unsigned int index, struct byte_stream *stream,
		   struct errtext *err)
{
	return destination_receive(in->destination, index, stream, err);
}

static int serve_ram(struct incoming *in, int fd, unsigned int index, struct errtext *err)
{
	int ret = incoming_serve_stream(in, fd, index, in->streams, in->prepare.streams, run_ram,
					err);

	if (ret < 0)
		mailbox_note(in->mail, MAIL_STREAM_LOST, ret, err->text);
	return ret;
}

/* ---- tunnel and relay ---- */

static int serve_tunnel(struct incoming *in, int fd, struct errtext *err)
{
	struct receiver *r = in->receiver;
	_cleanup_close_ int tcp = fd;
	_cleanup_close_ int local = -1;
	int ret = socket_unix_connect(r->opt.libvirt_socket, &local, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&r->lock);
	if (in->ending || in->tunnel_count == INCOMING_TUNNELS_MAX)
		ret = -EBUSY;
	else
		ret = pump_start(tcp, local, NULL, &in->tunnels[in->tunnel_count], err);
	if (ret == 0) {
		in->tunnel_count++;
		steal_fd(&tcp);
		steal_fd(&local);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

static int serve_relay(struct incoming *in, int fd, struct errtext *err)
{
	struct receiver *r = in->receiver;
	struct pump_options options = {.held = true};
	_cleanup_close_ int tcp = fd;
	_cleanup_close_ int local = -1;
	bool ready;
	int ret;

	pthread_mutex_lock(&r->lock);
	ready = in->destination; /* and with it the paths */
	pthread_mutex_unlock(&r->lock);
	if (!ready)
		return errtext_set(err, -EPROTO, "QEMU's stream comes before its time");
	ret = socket_unix_connect(in->dir.stream, &local, err);
	if (ret < 0) {
		mailbox_note(in->mail, MAIL_STREAM_LOST, ret, err->text);
		return ret;
	}
	pthread_mutex_lock(&r->lock);
	options.held = !in->released; /* RELEASE may have overtaken us */
	if (in->ending || in->relay)
		ret = -EBUSY;
	else
		ret = pump_start(tcp, local, &options, &in->relay, err);
	if (ret == 0) {
		steal_fd(&tcp);
		steal_fd(&local);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

int incoming_join(struct receiver *r, int fd, const struct wire_hello *hello, struct errtext *err)
{
	struct incoming *in = session_get(r, hello->session);
	int ret;

	if (!in) {
		close(fd);
		return errtext_set(err, -ENOENT, "no such migration is under way here");
	}
	switch (hello->kind) {
	case WIRE_KIND_RAM:
		ret = serve_ram(in, fd, hello->index, err);
		break;
	case WIRE_KIND_TUNNEL:
		ret = serve_tunnel(in, fd, err);
		break;
	case WIRE_KIND_FAULT:
		ret = incoming_serve_fault(in, fd, hello->index, err);
		break;
	case WIRE_KIND_PUSH:
		ret = incoming_serve_push(in, fd, hello->index, err);
		break;
	case WIRE_KIND_LINK:
		ret = incoming_serve_link(in, fd, hello->index, err);
		break;
	default:
		ret = serve_relay(in, fd, err);
	}
	session_put(in);
	return ret;
}

/* ---- recovery ---- */

/* The answer must be final: ABSENT only if it can no longer begin to run here, ENDED only if it did
 * run. 0: nobody can tell, as after a reboot, which took the record with it, or when libvirt has
 * stored the definition (which it does before the guest is started) and nobody saw what came
 * next. */
static enum wire_state state_here(struct host *host, const char *uuid, struct errtext *err)
{
	struct guest_dir dir;
	struct record in, out;
	struct domain_info info;
	bool known;

	guest_dir_paths(&dir, uuid);
	if (host_state(host, uuid, &info, err) < 0)
		return 0;
	known = record_read(&dir, RECORD_INCOMING, &in, NULL) == 0;
	switch (info.state) {
	case DOMAIN_ABSENT:
		if (!known)
			return 0;
		return in.resumed ? WIRE_STATE_ENDED : WIRE_STATE_ABSENT;
	case DOMAIN_SHUT_OFF:
		if (known && in.resumed)
			return WIRE_STATE_ENDED;
		return known && (in.defined_before || in.never_ran) ? WIRE_STATE_ABSENT : 0;
	case DOMAIN_INCOMING:
		return WIRE_STATE_INCOMING;
	case DOMAIN_PAUSED_MIGRATION:
		/* Paused by a migration in, unless one out of here is recorded. */
		return record_read(&dir, RECORD_OUTGOING, &out, NULL) == 0 ? WIRE_STATE_RUNNING
									   : WIRE_STATE_INCOMING;
	default:
		return WIRE_STATE_RUNNING;
	}
}

void incoming_recover(struct receiver *r, int fd)
{
	_cleanup_close_ int own = fd;
	struct wire_message *m = calloc(1, sizeof(*m));
	_cleanup_free_ uint8_t *buf = malloc(WIRE_HEADER_SIZE + WIRE_BODY_MAX);
	struct errtext err = {0};
	struct host *host = NULL;
	enum wire_state state;
	char uuid[37];
	bool discard;
	long len;

	if (!m || !buf || control_read_one(fd, ANSWER_MS, m, &err) < 0 ||
	    (m->type != WIRE_QUERY && m->type != WIRE_DISCARD) ||
	    host_open(r->opt.libvirt_socket, &host, &err) < 0) {
		free(m);
		return;
	}
	discard = m->type == WIRE_DISCARD;
	uuid_unparse_lower(m->query.uuid, uuid);
	state = state_here(host, uuid, &err);
	if (discard && state == WIRE_STATE_INCOMING && host_destroy(host, uuid, &err) == 0)
		state = state_here(host, uuid, &err);
	host_close(host);
	if (state) {
		*m = (struct wire_message){.type = WIRE_STATE, .state = {.state = state}};
		len = wire_message_encode(m, buf, WIRE_HEADER_SIZE + WIRE_BODY_MAX);
		if (len > 0)
			socket_write_full(fd, buf, len, ANSWER_MS);
	}
	free(m);
}
