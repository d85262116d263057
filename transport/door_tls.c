// SPDX-License-Identifier: Apache-2.0
// The door with TLS: who comes in by what, and what two sides say that do not both have it.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "cleanup.h"
#include "deadline.h"
#include "door_private.h"
#include "tls_credentials.h"

#define TLS_HANDSHAKE 0x16 /* the first byte of whoever wants TLS */
#define SEE_OFF_MS 1000
#define SEE_OFF_BYTES 65536

struct door_tls {
	struct tls_credentials *credentials; /* constant */
	pthread_mutex_t lock;
	struct tls_secret secret; /* under lock */
};

int door_tls_new(const char *dir, struct door_tls **out, struct errtext *err)
{
	struct door_tls *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = tls_credentials_new(dir, &t->credentials, err);
	if (ret < 0) {
		free(t);
		return ret;
	}
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void door_tls_destroy(struct door_tls *t)
{
	if (!t)
		return;
	tls_credentials_destroy(t->credentials);
	pthread_mutex_destroy(&t->lock);
	explicit_bzero(&t->secret, sizeof(t->secret));
	free(t);
}

/* ---- which kind comes by what ---- */

static bool takes_certificate(enum wire_kind kind)
{
	return kind == WIRE_KIND_CONTROL || kind == WIRE_KIND_RECOVER || kind == WIRE_KIND_LINK;
}

static bool takes_secret(enum wire_kind kind)
{
	return kind != WIRE_KIND_CONTROL && kind != WIRE_KIND_RECOVER;
}

static bool begins_session(enum wire_kind kind)
{
	return kind == WIRE_KIND_CONTROL || kind == WIRE_KIND_LINK;
}

/* ---- the source ---- */

static int plain_destination(const struct peer *peer, struct errtext *err)
{
	return errtext_set(err, -EPROTO,
			   "%s:%u does not take TLS (it runs with --disable-tls): start `dray "
			   "receive` there without that; or, if the network is trusted with "
			   "guests' memory, say --disable-tls here, too",
			   peer->host, peer->port);
}

/* Who should have known the session, and does not, would have been sent the guest's memory. */
static int check_secret(struct line line, const struct peer *peer, enum wire_kind kind,
			struct errtext *err)
{
	if (tls_by_secret(line.tls, NULL) || takes_certificate(kind))
		return 0;
	return errtext_set(err, -EPROTO,
			   "%s:%u does not know this migration: was `dray receive` started again?",
			   peer->host, peer->port);
}

int door_secure(struct line *line, const struct peer *peer, enum wire_kind kind,
		struct door_terms *terms, struct errtext *err)
{
	struct tls_connect_options options = {.name = peer->host, .timeout_ms = peer->timeout_ms};
	struct errtext why = {0};
	struct tls_secret secret;
	int ret;

	if (!peer->tls)
		return 0;
	options.credentials = peer->tls->credentials;
	pthread_mutex_lock(&peer->tls->lock);
	secret = peer->tls->secret;
	pthread_mutex_unlock(&peer->tls->lock);
	if (takes_secret(kind) && tls_secret_is_set(&secret))
		options.secret = &secret;
	ret = tls_connect(line->fd, &options, &line->tls, &why);
	if (ret == -EPROTOTYPE)
		return plain_destination(peer, err);
	if (ret < 0)
		return errtext_set(err, ret, "%s:%u: %s", peer->host, peer->port, why.text);
	terms->tls = true;
	terms->by_certificate = !tls_by_secret(line->tls, NULL);
	snprintf(terms->peer, sizeof(terms->peer), "%s", tls_peer(line->tls));
	return check_secret(*line, peer, kind, err);
}

int door_begin_session(struct line line, const struct peer *peer, enum wire_kind kind,
		       struct door_terms *terms, struct errtext *err)
{
	int ret;

	if (!terms->by_certificate || !begins_session(kind))
		return 0;
	ret = tls_export(line.tls, peer->session, &terms->secret);
	if (ret < 0)
		return errtext_set(err, ret, "%s:%u: TLS has no secret to give", peer->host,
				   peer->port);
	pthread_mutex_lock(&peer->tls->lock);
	peer->tls->secret = terms->secret;
	pthread_mutex_unlock(&peer->tls->lock);
	return 0;
}

/* ---- the destination ---- */

/* The first byte tells; it stays there. */
static int peek(int fd, const struct deadline *deadline, uint8_t *first)
{
	ssize_t n;
	int ret;

	for (;;) {
		n = recv(fd, first, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n == 1)
			return 0;
		if (n == 0)
			return -ENODATA;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		ret = deadline_await(deadline, fd, POLLIN);
		if (ret < 0)
			return ret;
	}
}

static int differ(bool wants_tls, struct errtext *why)
{
	if (wants_tls)
		return errtext_set(why, -EPROTO,
				   "the source wants TLS, and this receiver runs with "
				   "--disable-tls: both must, or neither");
	return errtext_set(why, -EPROTO,
			   "the source runs with --disable-tls, and this receiver takes TLS only: "
			   "both must, or neither");
}

int door_meet(struct line *line, const struct deadline *deadline, const struct door_keeper *keeper,
	      struct door_terms *terms, struct errtext *why, struct errtext *err)
{
	struct tls_accept_options options = {
		.credentials = keeper->credentials, .find = keeper->find, .opaque = keeper->opaque};
	uint8_t first;
	int ret = peek(line->fd, deadline, &first);

	if (ret < 0)
		return errtext_set(err, ret, "nobody said hello: %s", strerror(-ret));
	if ((first == TLS_HANDSHAKE) != (keeper->credentials != NULL))
		return differ(first == TLS_HANDSHAKE, why);
	if (!keeper->credentials)
		return 0;
	options.timeout_ms = deadline_left_ms(deadline);
	ret = tls_accept(line->fd, &options, &line->tls, err);
	if (ret < 0)
		door_see_off(*line);
	terms->tls = ret == 0;
	return ret;
}

static int check_allowed(struct line line, const struct door_keeper *keeper, struct errtext *why)
{
	for (unsigned int i = 0; i < keeper->allow_count; i++)
		if (tls_peer_matches(line.tls, keeper->allow[i]))
			return 0;
	if (keeper->allow_count == 0)
		return 0;
	return errtext_set(why, -EKEYREJECTED,
			   "the source's certificate (%s) has none of the names that --allow-peer "
			   "lets in here",
			   tls_peer(line.tls));
}

static int authorise_secret(const struct wire_hello *hello, const struct tls_secret *secret,
			    struct errtext *why)
{
	if (takes_secret(hello->kind) &&
	    memcmp(hello->session, secret->session, sizeof(hello->session)) == 0)
		return 0;
	return errtext_set(why, -EPROTO,
			   "a connection is for another migration than the one whose secret it "
			   "knows");
}

static int authorise_certificate(struct line line, const struct door_keeper *keeper,
				 const struct wire_hello *hello, struct door_terms *terms,
				 struct errtext *why)
{
	int ret = check_allowed(line, keeper, why);

	terms->by_certificate = true;
	snprintf(terms->peer, sizeof(terms->peer), "%s", tls_peer(line.tls));
	if (ret < 0)
		return ret;
	if (!takes_certificate(hello->kind))
		return errtext_set(why, -EPROTO,
				   "this migration is not known here (any more): a connection of "
				   "it must know its secret");
	if (begins_session(hello->kind) && tls_export(line.tls, hello->session, &terms->secret) < 0)
		return errtext_set(why, -EPROTO, "TLS has no secret to give");
	return 0;
}

int door_authorise(struct line line, const struct door_keeper *keeper,
		   const struct wire_hello *hello, struct door_terms *terms, struct errtext *why)
{
	int ret = 0;

	if (line.tls && tls_by_secret(line.tls, &terms->secret))
		ret = authorise_secret(hello, &terms->secret, why);
	else if (line.tls)
		ret = authorise_certificate(line, keeper, hello, terms, why);
	if (ret == 0 && keeper->admit)
		ret = keeper->admit(keeper->opaque, hello, terms, why);
	return ret;
}

void door_see_off(struct line line)
{
	struct deadline deadline;
	char buf[1024];
	size_t seen = 0;

	if (line.tls)
		tls_end(line.tls);
	shutdown(line.fd, SHUT_WR);
	deadline_set(&deadline, SEE_OFF_MS);
	while (seen < SEE_OFF_BYTES) {
		ssize_t n;

		if (deadline_await(&deadline, line.fd, POLLIN) < 0)
			return;
		n = recv(line.fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n <= 0)
			return;
		seen += (size_t)n;
	}
}
