// SPDX-License-Identifier: Apache-2.0
// How recovery reaches the two hosts: libvirt on this one, dray on the destination.
#include <stdio.h>
#include "connection.h"
#include "libvirt_host.h"
#include "recover_private.h"

int recover_reach_host(const struct recover_options *options, struct host **out,
		       struct errtext *err)
{
	char socket[108];
	int ret = host_socket_path(options->libvirt_socket, socket, err);

	return ret < 0 ? ret : host_open(socket, out, err);
}

void recover_reach_peer(const struct record *r, int timeout_ms, struct peer *peer)
{
	*peer = (struct peer){.port = r->port,
			      .timeout_ms = timeout_ms,
			      .socket = {.user_timeout_ms = connection_dead_ms(r->silence_ms)}};
	snprintf(peer->host, sizeof(peer->host), "%s", r->host);
	snprintf(peer->socket.bind, sizeof(peer->socket.bind), "%s", r->bind);
	snprintf(peer->socket.congestion, sizeof(peer->socket.congestion), "%s", r->congestion);
	record_session_bytes(r, peer->session);
	record_host(r, &peer->who);
}
