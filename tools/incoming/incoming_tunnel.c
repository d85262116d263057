// SPDX-License-Identifier: Apache-2.0
// What a session pumps: libvirt's calls, to this host's daemon, and QEMU's stream, which is held
// back until the release.
#include "incoming_private.h"

#include <errno.h>
#include <unistd.h>
#include "cleanup.h"
#include "socket.h"

int incoming_tunnel_serve(struct incoming *in, int fd, struct errtext *err)
{
	struct receiver *r = in->receiver;
	_cleanup_close_ int tcp = fd;
	_cleanup_close_ int local = -1;
	int ret = socket_unix_connect(r->opt.libvirt_socket, &local, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&r->lock);
	if (in->joined.ending || in->joined.tunnel_count == INCOMING_TUNNELS_MAX)
		ret = -EBUSY;
	else
		ret = pump_start(tcp, local, NULL, &in->joined.tunnels[in->joined.tunnel_count],
				 err);
	if (ret == 0) {
		in->joined.tunnel_count++;
		steal_fd(&tcp);
		steal_fd(&local);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

int incoming_tunnel_serve_qemu_stream(struct incoming *in, int fd, struct errtext *err)
{
	struct receiver *r = in->receiver;
	struct pump_options options = {.held = true};
	_cleanup_close_ int tcp = fd;
	_cleanup_close_ int local = -1;
	bool ready;
	int ret;

	pthread_mutex_lock(&r->lock);
	ready = in->joined.destination; /* and then QEMU listens, on a path that is known */
	pthread_mutex_unlock(&r->lock);
	if (!ready)
		return errtext_set(err, -EPROTO, "QEMU's stream comes before its time");
	ret = socket_unix_connect(in->place.dir.stream, &local, err);
	if (ret < 0) {
		mailbox_note(in->mail, MAIL_STREAM_LOST, ret, err->text);
		return ret;
	}
	pthread_mutex_lock(&r->lock);
	options.held = !in->joined.released; /* RELEASE may have come first */
	if (in->joined.ending || in->joined.qemu_stream)
		ret = -EBUSY;
	else
		ret = pump_start(tcp, local, &options, &in->joined.qemu_stream, err);
	if (ret == 0) {
		steal_fd(&tcp);
		steal_fd(&local);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}
