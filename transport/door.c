// SPDX-License-Identifier: Apache-2.0
// The first words on every connection.
#include "door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "door_private.h"

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

static int send_hello(struct line line, const struct peer *peer, enum wire_kind kind,
		      unsigned int index, struct errtext *err)
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
	ret = line_write_full(line, buf, sizeof(buf), peer->timeout_ms);
	return ret < 0 ? errtext_set(err, ret, "%s:%u: %s", peer->host, peer->port,
				     line_why(line, ret))
		       : 0;
}

static int read_reply(struct line line, const struct peer *peer, struct wire_hello_reply *reply,
		      struct errtext *err)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE];
	size_t text_len;
	int ret = line_read_full(line, buf, sizeof(buf), peer->timeout_ms);

	/* A destination that refuses a certificate says so when TLS is done with it here. */
	if (ret < 0 && line.tls && *tls_why(line.tls))
		return errtext_set(err, ret,
				   "%s:%u does not take this host's certificate, or broke off: %s; "
				   "its log says more",
				   peer->host, peer->port, tls_why(line.tls));
	if (ret < 0)
		return errtext_set(err, ret,
				   "%s:%u does not answer as a dray receiver (%s): is it `dray "
				   "receive` that listens there?",
				   peer->host, peer->port, strerror(-ret));
	ret = wire_hello_reply_decode(buf, reply, &text_len, err);
	if (ret < 0)
		return ret;
	ret = line_read_full(line, reply->text, text_len, peer->timeout_ms);
	reply->text[ret < 0 ? 0 : text_len] = '\0';
	errtext_make_printable(reply->text);
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

int door_ask(struct line *line, const struct peer *peer, enum wire_kind kind, unsigned int index,
	     struct door_terms *terms, struct errtext *err)
{
	struct wire_hello_reply reply;
	struct door_terms ignored = {0};
	int ret;

	terms = terms ? terms : &ignored;
	*terms = (struct door_terms){0};
	ret = door_secure(line, peer, kind, terms, err);
	if (ret == 0)
		ret = send_hello(*line, peer, kind, index, err);
	if (ret == 0)
		ret = read_reply(*line, peer, &reply, err);
	if (ret == 0)
		ret = check_reply(peer, &reply, err);
	if (ret < 0)
		return ret;
	memcpy(terms->host.uuid, reply.host_uuid, sizeof(terms->host.uuid));
	memcpy(terms->host.boot_id, reply.boot_id, sizeof(terms->host.boot_id));
	terms->version = reply.version;
	terms->features = reply.features & WIRE_FEATURES;
	ret = check_host(peer, &terms->host, err);
	return ret < 0 ? ret : door_begin_session(*line, peer, kind, terms, err);
}

int door_dial(const struct peer *peer, enum wire_kind kind, unsigned int index, struct line *line,
	      struct door_terms *terms, struct errtext *err)
{
	_cleanup_line_ struct line l = LINE_NONE;
	int ret =
		socket_connect(peer->host, peer->port, &peer->socket, peer->timeout_ms, &l.fd, err);

	if (ret == 0)
		ret = door_ask(&l, peer, kind, index, terms, err);
	if (ret == 0)
		*line = line_steal(&l);
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
int door_reply(struct line line, int timeout_ms, const struct door_terms *terms, const char *why)
{
	struct wire_hello_reply reply = {
		.version = terms->version,
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.features = terms->features,
	};
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];

	memcpy(reply.host_uuid, terms->host.uuid, sizeof(reply.host_uuid));
	memcpy(reply.boot_id, terms->host.boot_id, sizeof(reply.boot_id));
	snprintf(reply.text, sizeof(reply.text), "%s", why);
	return line_write_full(line, buf, wire_hello_reply_encode(&reply, buf), timeout_ms);
}

static int read_hello(struct line line, const struct deadline *deadline, struct wire_hello *hello,
		      struct door_terms *terms, struct errtext *why, struct errtext *err)
{
	uint8_t buf[WIRE_HELLO_SIZE];
	int ret = line_read_full(line, buf, sizeof(buf), deadline_left_ms(deadline));

	if (ret < 0)
		return errtext_set(err, ret, "nobody said hello: %s", line_why(line, ret));
	ret = wire_hello_decode(buf, hello, why);
	return ret < 0 ? ret : agree(hello, terms, why);
}

int door_answer(struct line *line, int timeout_ms, const struct door_keeper *keeper,
		struct wire_hello *hello, struct door_terms *terms, struct errtext *err)
{
	struct errtext why = {0};
	struct deadline deadline; /* of all of it: no byte buys more time */
	bool met;
	int sent, ret;

	deadline_set(&deadline, timeout_ms);
	*terms = (struct door_terms){.host = keeper->self};
	ret = door_meet(line, &deadline, keeper, terms, &why, err);
	met = ret == 0;
	if (ret == 0)
		ret = read_hello(*line, &deadline, hello, terms, &why, err);
	if (ret == 0)
		ret = door_authorise(*line, keeper, hello, terms, &why);
	if (ret < 0 && !why.text[0])
		return ret;
	if (ret < 0)
		terms->version = 0;
	sent = door_reply(*line, deadline_left_ms(&deadline), terms, why.text);
	if (ret == 0 && sent < 0)
		return errtext_set(err, sent,
				   "the source does not take the answer to its hello: %s",
				   line_why(*line, sent));
	/* What has not been read yet would make a reset of the closing. */
	if (ret < 0 && (!met || line->tls))
		door_see_off(*line);
	return ret < 0 ? errtext_set(err, ret, "%s", why.text) : 0;
}
