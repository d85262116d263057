// SPDX-License-Identifier: Apache-2.0
// What a session pumps: libvirt's calls to this host's daemon, and QEMU's own stream, which is held
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

int incoming_tunnel_serve_device(struct incoming *in, int fd, struct errtext *err)
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
	if (in->ending || in->device_stream)
		ret = -EBUSY;
	else
		ret = pump_start(tcp, local, &options, &in->device_stream, err);
	if (ret == 0) {
		steal_fd(&tcp);
		steal_fd(&local);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

void incoming_tunnel_cut(struct incoming *in)
{
	for (unsigned int i = 0; i < in->tunnel_count; i++)
		pump_stop(in->tunnels[i]);
}
