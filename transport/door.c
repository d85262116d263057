// SPDX-License-Identifier: Apache-2.0
// The first words on every connection.
#include "door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"

/* Each side says it in its own words of who speaks what. */
static int versions_differ(const char *one, unsigned int one_min, unsigned int one_max,
			   const char *other, unsigned int other_min, unsigned int other_max,
			   struct errtext *err)
{
	return errtext_set(err, -EPROTO,
			   "%s protocol versions %u to %u, %s %u to %u: install the same dray on "
			   "both hosts",
			   one, one_min, one_max, other, other_min, other_max);
}

/* ---- asking ---- */

static int send_hello(int fd, const struct peer *peer, enum wire_kind kind, unsigned int index,
		      struct errtext *err)
{
	struct wire_hello hello = {
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.features = WIRE_FEATURES,
		.kind = kind,
		.index = (uint16_t)index,
	};
	uint8_t buf[WIRE_HELLO_SIZE];
	int ret;

	memcpy(hello.session, peer->session, sizeof(hello.session));
	wire_hello_encode(&hello, buf);
	ret = socket_write_full(fd, buf, sizeof(buf), peer->timeout_ms);
	return ret < 0 ? errtext_set(err, ret, "%s:%u: %s", peer->host, peer->port, strerror(-ret))
		       : 0;
}

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
	reply->text[ret < 0 ? 0 : text_len] = '\0';
	return 0;
}

/* A receiver that speaks other versions only: say so in terms of who must be upgraded, whatever
 * its own text is. */
static int check_reply(const struct peer *peer, const struct wire_hello_reply *reply,
		       struct errtext *err)
{
	char speaks[SOCKET_HOST_SIZE + 16];

	snprintf(speaks, sizeof(speaks), "%s:%u speaks", peer->host, peer->port);
	if (!wire_version_choose(WIRE_VERSION_MIN, WIRE_VERSION_MAX, reply->version_min,
				 reply->version_max))
		return versions_differ(speaks, reply->version_min, reply->version_max, "this dray",
				       WIRE_VERSION_MIN, WIRE_VERSION_MAX, err);
	if (reply->version >= WIRE_VERSION_MIN && reply->version <= WIRE_VERSION_MAX)
		return 0;
	return errtext_set(err, -EPROTO, "%s:%u refuses: %s", peer->host, peer->port,
			   *reply->text ? reply->text : "no reason given");
}

static bool is_set(const uint8_t id[WIRE_UUID_SIZE])
{
	static const uint8_t none[WIRE_UUID_SIZE];

	return memcmp(id, none, sizeof(none)) != 0;
}

/* Whoever has the address now must not be taken for the host that has the guest. */
static int check_host(const struct peer *peer, const struct door_host *host, struct errtext *err)
{
	const struct door_host *who = &peer->who;

	if (is_set(who->uuid) && memcmp(who->uuid, host->uuid, sizeof(host->uuid)) != 0)
		return errtext_set(err, -EXDEV,
				   "%s:%u is another host than the one that this migration began "
				   "with (another host UUID): has its address moved?",
				   peer->host, peer->port);
	if (is_set(who->boot_id) && memcmp(who->boot_id, host->boot_id, sizeof(host->boot_id)) != 0)
		return errtext_set(err, -EOWNERDEAD, "%s:%u was started again since", peer->host,
				   peer->port);
	return 0;
}

int door_ask(int fd, const struct peer *peer, enum wire_kind kind, unsigned int index,
	     struct door_terms *terms, struct errtext *err)
{
	struct wire_hello_reply reply;
	struct door_host host;
	int ret = send_hello(fd, peer, kind, index, err);

	if (ret == 0)
		ret = read_reply(fd, peer, &reply, err);
	if (ret == 0)
		ret = check_reply(peer, &reply, err);
	if (ret < 0)
		return ret;
	memcpy(host.uuid, reply.host_uuid, sizeof(host.uuid));
	memcpy(host.boot_id, reply.boot_id, sizeof(host.boot_id));
	ret = check_host(peer, &host, err);
	if (ret < 0 || !terms)
		return ret;
	terms->version = reply.version;
	terms->features = reply.features & WIRE_FEATURES;
	terms->host = host;
	return 0;
}

int door_dial(const struct peer *peer, enum wire_kind kind, unsigned int index, int *fd,
	      struct door_terms *terms, struct errtext *err)
{
	_cleanup_close_ int s = -1;
	int ret = socket_connect(peer->host, peer->port, &peer->socket, peer->timeout_ms, &s, err);

	if (ret == 0)
		ret = door_ask(s, peer, kind, index, terms, err);
	if (ret == 0)
		*fd = steal_fd(&s);
	return ret;
}

/* ---- answering ---- */

static int agree(const struct wire_hello *hello, struct door_terms *terms, struct errtext *err)
{
	terms->version = wire_version_choose(hello->version_min, hello->version_max,
					     WIRE_VERSION_MIN, WIRE_VERSION_MAX);
	if (!terms->version)
		return versions_differ("it speaks", WIRE_VERSION_MIN, WIRE_VERSION_MAX, "you",
				       hello->version_min, hello->version_max, err);
	terms->features = hello->features & WIRE_FEATURES;
	return 0;
}

/* terms->version 0: a refusal, and why. */
static int send_reply(int fd, int timeout_ms, const struct door_terms *terms, const char *why,
		      struct errtext *err)
{
	struct wire_hello_reply reply = {
		.version = terms->version,
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.features = terms->features,
	};
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	int ret;

	memcpy(reply.host_uuid, terms->host.uuid, sizeof(reply.host_uuid));
	memcpy(reply.boot_id, terms->host.boot_id, sizeof(reply.boot_id));
	snprintf(reply.text, sizeof(reply.text), "%s", why);
	ret = socket_write_full(fd, buf, wire_hello_reply_encode(&reply, buf), timeout_ms);
	return ret < 0 ? errtext_set(err, ret,
				     "the source does not take the answer to its hello: "
				     "%s",
				     strerror(-ret))
		       : 0;
}

int door_answer(int fd, int timeout_ms, const struct door_host *self, struct wire_hello *hello,
		struct door_terms *terms, struct errtext *err)
{
	struct errtext why = {0};
	uint8_t buf[WIRE_HELLO_SIZE];
	int sent, ret = socket_read_full(fd, buf, sizeof(buf), timeout_ms);

	if (ret < 0)
		return errtext_set(err, ret, "nobody said hello: %s", strerror(-ret));
	*terms = (struct door_terms){.host = *self};
	ret = wire_hello_decode(buf, hello, &why);
	if (ret == 0)
		ret = agree(hello, terms, &why);
	sent = send_reply(fd, timeout_ms, terms, why.text, err);
	return ret < 0 ? errtext_set(err, ret, "%s", why.text) : sent;
}
