// SPDX-License-Identifier: Apache-2.0
// How recovery reaches the two hosts: libvirt on this one, dray on the destination.
#include <errno.h>
#include <stdio.h>
#include "connection.h"
#include "libvirt_host.h"
#include "recover_private.h"

int recover_check_daemon(const struct recover_options *options, const struct record *r,
			 struct errtext *err)
{
	char socket[108];
	int ret = host_socket_path(options->libvirt_socket, socket, err);

	if (ret < 0 || record_is_of_daemon(r, socket))
		return ret;
	return errtext_set(err, -ENOTCONN,
			   "domain %s is %s, not of the one at %s: give dray recover the "
			   "--launcher or --libvirt-socket that its migration had",
			   r->domain,
			   r->daemon[0] ? "of a launcher's or a user's own libvirt"
					: "of the system's libvirt",
			   socket);
}

int recover_reach_host(const struct recover_options *options, const struct record *r,
		       struct host **out, struct errtext *err)
{
	char socket[108];
	int ret = r ? recover_check_daemon(options, r, err) : 0;

	if (ret == 0)
		ret = host_socket_path(options->libvirt_socket, socket, err);
	return ret < 0 ? ret : host_open(socket, out, err);
}

int recover_reach_peer(const struct recover_options *options, const struct record *r,
		       int timeout_ms, struct peer *peer, struct errtext *err)
{
	const char *dir = options->tls_dir ? options->tls_dir : r->tls_dir;

	*peer = (struct peer){.port = r->port,
			      .timeout_ms = timeout_ms,
			      .socket = {.user_timeout_ms = connection_dead_ms(r->silence_ms)}};
	snprintf(peer->host, sizeof(peer->host), "%s", r->host);
	snprintf(peer->socket.bind, sizeof(peer->socket.bind), "%s", r->bind);
	snprintf(peer->socket.congestion, sizeof(peer->socket.congestion), "%s", r->congestion);
	record_session_bytes(r, peer->session);
	record_host(r, &peer->who);
	/* One that began without TLS goes on without. */
	return r->tls_dir[0] && door_tls_new(dir, &peer->tls, err) < 0 ? -EKEYREJECTED : 0;
}

void recover_leave_peer(struct peer *peer)
{
	door_tls_destroy(peer->tls);
}
