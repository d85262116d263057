// SPDX-License-Identifier: Apache-2.0
// What a session pumps: libvirt's calls, past the filter to this host's daemon, and QEMU's stream,
// which is held back until the release.
#include "incoming_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"
#include "fs_user.h"
#include "socket.h"
#include "tunnel_filter.h"

static void on_refused(void *opaque, const char *text)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_TUNNEL, -EPERM, text);
}

/* To the daemon, past the filter: *near is the caller's end. `daemon` becomes the filter's. */
static int start_filter(struct incoming *in, int daemon, struct tunnel_filter **out, int *near,
			struct errtext *err)
{
	_cleanup_close_ int own = daemon;
	const struct receiver_options *o = &in->receiver->opt;
	const struct tunnel_filter_options options = {
		.policy = {.definition = {.uuid = in->uuid,
					  .name = in->prepare.name,
					  .monitor_path = in->place.dir.monitor,
					  .paths = o->allow_paths,
					  .agreed = o->agreed,
					  .contained = o->contained,
					  .uid = in->place.uid,
					  .gid = in->place.gid},
			   .stream_path = in->place.dir.stream},
		.refused = on_refused,
		.opaque = in};
	int ends[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return errtext_set(err, -errno, "no socket: %s", strerror(errno));
	ret = tunnel_filter_start(ends[1], steal_fd(&own), &options, out, err);
	if (ret < 0)
		close(ends[0]);
	else
		*near = ends[0];
	return ret;
}

/* PREPARED has told the source that it may call. */
static bool may_call(struct incoming *in)
{
	const struct incoming_joined *j = &in->joined;

	return j->prepared && !j->ending && !j->tunnels_cut &&
	       j->tunnel_count < INCOMING_TUNNELS_MAX;
}

/* Under the receiver's lock. */
static int add_tunnel(struct incoming *in, struct line line, int daemon, struct errtext *err)
{
	struct incoming_tunnel *t = &in->joined.tunnels[in->joined.tunnel_count];
	_cleanup_line_ struct line near = LINE_NONE;
	int ret = start_filter(in, daemon, &t->filter, &near.fd, err);

	if (ret < 0)
		return ret;
	ret = pump_start(line, near, NULL, &t->pump, err);
	if (ret < 0) {
		tunnel_filter_destroy(steal_ptr(&t->filter));
		return ret;
	}
	line_steal(&near);
	in->joined.tunnel_count++;
	return 0;
}

int incoming_tunnel_serve(struct incoming *in, struct line line, struct errtext *err)
{
	struct receiver *r = in->receiver;
	_cleanup_line_ struct line far = line;
	_cleanup_close_ int daemon = -1;
	/* Not under the lock, which other guests' sessions need: a daemon that hangs blocks it. */
	int ret = socket_unix_connect(r->opt.libvirt_socket, &daemon, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&r->lock);
	if (may_call(in))
		ret = add_tunnel(in, far, steal_fd(&daemon), err);
	else
		ret = errtext_set(err, -EPROTO, "libvirt's calls come out of their time");
	pthread_mutex_unlock(&r->lock);
	if (ret == 0)
		line_steal(&far);
	return ret;
}

/* QEMU's user owns the directory: what listens there must be the process that is attached to. */
static int connect_qemu(struct incoming *in, int *fd, struct errtext *err)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(in->place.dir.stream);
	_cleanup_close_ int local = -1;
	struct ucred who;
	socklen_t size = sizeof(who);
	int ret = socket_unix_connect(in->place.dir.stream, &local, err);

	if (ret < 0)
		return ret;
	if (getsockopt(local, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
	    who.pid != in->place.record.qemu)
		return errtext_set(err, -EPERM, "%s: another process than QEMU listens there",
				   in->place.dir.stream);
	*fd = steal_fd(&local);
	return 0;
}

int incoming_tunnel_serve_qemu_stream(struct incoming *in, struct line line, struct errtext *err)
{
	struct receiver *r = in->receiver;
	struct pump_options options = {.held = true};
	_cleanup_line_ struct line far = line;
	_cleanup_line_ struct line near = LINE_NONE;
	bool ready;
	int ret;

	pthread_mutex_lock(&r->lock);
	ready = in->joined.destination; /* and then QEMU listens, on a path that is known */
	pthread_mutex_unlock(&r->lock);
	if (!ready)
		return errtext_set(err, -EPROTO, "QEMU's stream comes before its time");
	ret = connect_qemu(in, &near.fd, err);
	if (ret < 0) {
		mailbox_note(in->mail, MAIL_STREAM_LOST, ret, err->text);
		return ret;
	}
	pthread_mutex_lock(&r->lock);
	options.held = !in->joined.released; /* RELEASE may have come first */
	if (in->joined.ending || in->joined.qemu_stream)
		ret = -EBUSY;
	else
		ret = pump_start(far, near, &options, &in->joined.qemu_stream, err);
	if (ret == 0) {
		line_steal(&far);
		line_steal(&near);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}
