// SPDX-License-Identifier: Apache-2.0
// Connections from the source to the destination's receiver.
#include "dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"

static int read_reply(int fd, const struct peer *peer, struct wire_hello_reply *reply,
		      struct errtext *err)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE];
	size_t text_len;
	int ret = socket_read_full(fd, buf, sizeof(buf), peer->timeout_ms);

	if (ret < 0)
		return errtext_set(err, ret,
				   "%s:%u does not answer as a dray receiver (%s): is it `dray "
				   "receive` that listens there?",
				   peer->host, peer->port, strerror(-ret));
	ret = wire_hello_reply_decode(buf, reply, &text_len, err);
	if (ret < 0)
		return ret;
	ret = socket_read_full(fd, reply->text, text_len, peer->timeout_ms);
	reply->text[ret < 0 ? 0 : text_len] = 0;
	return 0;
}

static int check_reply(const struct peer *peer, const struct wire_hello_reply *reply,
		       struct errtext *err)
{
	if (reply->version >= WIRE_VERSION_MIN && reply->version <= WIRE_VERSION_MAX)
		return 0;
	return errtext_set(err, -EPROTO, "%s:%u refuses: %s", peer->host, peer->port,
			   *reply->text ? reply->text : "no reason given");
}

/* A receiver that speaks other versions only: say so in terms of who must be upgraded. */
static int check_version(const struct peer *peer, const struct wire_hello_reply *reply,
			 struct errtext *err)
{
	if (wire_version_choose(WIRE_VERSION_MIN, WIRE_VERSION_MAX, reply->version_min,
				reply->version_max))
		return 0;
	return errtext_set(err, -EPROTO,
			   "%s:%u speaks protocol versions %u to %u, this dray %u to %u: install "
			   "the same dray on both hosts",
			   peer->host, peer->port, reply->version_min, reply->version_max,
			   WIRE_VERSION_MIN, WIRE_VERSION_MAX);
}

int dial(const struct peer *peer, enum wire_kind kind, unsigned int index, int *fd,
	 struct wire_hello_reply *reply, struct errtext *err)
{
	struct wire_hello hello = {
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.features = WIRE_FEATURES,
		.kind = kind,
		.index = index,
	};
	_cleanup_free_ struct wire_hello_reply *own = malloc(sizeof(*own));
	uint8_t buf[WIRE_HELLO_SIZE];
	_cleanup_close_ int s = -1;
	int ret;

	if (!own)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = socket_connect(peer->host, peer->port, &peer->socket, peer->timeout_ms, &s, err);
	if (ret < 0)
		return ret;
	memcpy(hello.session, peer->session, sizeof(hello.session));
	wire_hello_encode(&hello, buf);
	ret = socket_write_full(s, buf, sizeof(buf), peer->timeout_ms);
	if (ret < 0)
		return errtext_set(err, ret, "%s:%u: %s", peer->host, peer->port, strerror(-ret));
	ret = read_reply(s, peer, own, err);
	if (ret == 0)
		ret = check_version(peer, own, err);
	if (ret == 0)
		ret = check_reply(peer, own, err);
	if (ret < 0)
		return ret;
	if (reply)
		*reply = *own;
	*fd = steal_fd(&s);
	return 0;
}
