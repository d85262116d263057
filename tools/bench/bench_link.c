// SPDX-License-Identifier: Apache-2.0
// The connections of a bench: one on which both ends speak JSON, and streams of memory.
#include "bench_link.h"

#include <errno.h>
#include <string.h>
#include "json_field.h"
#include "tls_stream.h"

#define TIMEOUT_MS 10000
#define WORD_MAX 65536u
/* A digest of much memory takes its time. */
#define HEAR_MS 600000

static const struct socket_options socket_options = {.congestion = SOCKET_CONGESTION};

int bench_link_dial(const struct bench_link *l, struct line *out, struct errtext *err)
{
	const struct tls_connect_options connect = {
		.credentials = l->credentials, .name = l->host, .timeout_ms = TIMEOUT_MS};
	_cleanup_line_ struct line line = LINE_NONE;
	int ret = socket_connect(l->host, l->port, &socket_options, TIMEOUT_MS, &line.fd, NULL);

	if (ret < 0)
		return errtext_set(err, ret,
				   "cannot reach %s, port %u: %s: does `dray bench --listen` run "
				   "there?",
				   l->host, l->port, strerror(-ret));
	if (l->credentials)
		ret = tls_connect(line.fd, &connect, &line.tls, err);
	if (ret == 0)
		*out = line_steal(&line);
	return ret;
}

int bench_link_accept(int listener, struct tls_credentials *credentials, struct line *out,
		      struct errtext *err)
{
	const struct tls_accept_options accept = {.credentials = credentials,
						  .timeout_ms = TIMEOUT_MS};
	_cleanup_line_ struct line line = LINE_NONE;
	char peer[SOCKET_PEER_SIZE];
	int ret = socket_accept(listener, &socket_options, &line.fd, peer, err);

	if (ret == 0 && credentials)
		ret = tls_accept(line.fd, &accept, &line.tls, err);
	if (ret == 0)
		*out = line_steal(&line);
	return ret;
}

static int broken(struct line line, int ret, struct errtext *err)
{
	return errtext_set(err, ret, "the other end of the bench: %s", line_why(line, ret));
}

int bench_link_say(struct line line, json_object *o, struct errtext *err)
{
	_cleanup_json_ json_object *taken = o;
	const char *text = json_object_to_json_string_ext(taken, JSON_C_TO_STRING_PLAIN);
	size_t n = strlen(text);
	const uint8_t length[4] = {n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24 & 0xff};
	int ret = line_write_full(line, length, sizeof(length), TIMEOUT_MS);

	if (ret == 0)
		ret = line_write_full(line, text, n, TIMEOUT_MS);
	return ret < 0 ? broken(line, ret, err) : 0;
}

static int parse(const char *text, json_object **out, struct errtext *err)
{
	_cleanup_json_ json_object *o = json_tokener_parse(text);
	char said[ERRTEXT_SIZE];

	if (!json_object_is_type(o, json_type_object))
		return errtext_set(err, -EPROTO, "the other end is no dray bench");
	if (json_field(o, "error"))
		return errtext_set(err, -EREMOTEIO, "the other end: %s",
				   json_field_text(o, "error", said, sizeof(said)));
	*out = steal_ptr(&o);
	return 0;
}

int bench_link_hear(struct line line, json_object **out, struct errtext *err)
{
	_cleanup_free_ char *text = NULL;
	uint8_t b[4];
	uint32_t n;
	int ret = line_read_full(line, b, sizeof(b), HEAR_MS);

	if (ret < 0)
		return broken(line, ret, err);
	n = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	if (n > WORD_MAX)
		return errtext_set(err, -EPROTO, "the other end is no dray bench");
	text = calloc(1, n + 1);
	if (!text)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = line_read_full(line, text, n, TIMEOUT_MS);
	return ret < 0 ? broken(line, ret, err) : parse(text, out, err);
}

static int open_stream(const struct bench_link *l, struct byte_stream **out, struct errtext *err)
{
	_cleanup_line_ struct line line = LINE_NONE;
	int ret = bench_link_dial(l, &line, err);

	if (ret < 0)
		return ret;
	ret = line_write_full(line, l->token, sizeof(l->token), TIMEOUT_MS);
	return ret < 0 ? broken(line, ret, err) : tls_stream_new(line_steal(&line), NULL, out, err);
}

static int accept_stream(int listener, struct tls_credentials *credentials,
			 const uint8_t token[BENCH_TOKEN_SIZE], struct byte_stream **out,
			 struct errtext *err)
{
	_cleanup_line_ struct line line = LINE_NONE;
	uint8_t shown[BENCH_TOKEN_SIZE];
	int ret = bench_link_accept(listener, credentials, &line, err);

	if (ret < 0)
		return ret;
	ret = line_read_full(line, shown, sizeof(shown), TIMEOUT_MS);
	if (ret < 0)
		return broken(line, ret, err);
	if (memcmp(shown, token, sizeof(shown)) != 0)
		return errtext_set(err, -EPROTO, "a connection that belongs to no stream");
	return tls_stream_new(line_steal(&line), NULL, out, err);
}

int bench_link_open_streams(const struct bench_link *l, unsigned int count,
			    struct byte_stream **streams, struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < count; i++)
		ret = open_stream(l, &streams[i], err);
	return ret;
}

int bench_link_accept_streams(int listener, struct tls_credentials *credentials,
			      const uint8_t token[BENCH_TOKEN_SIZE], unsigned int count,
			      struct byte_stream **streams, struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < count; i++)
		ret = accept_stream(listener, credentials, token, &streams[i], err);
	return ret;
}

void bench_link_close_streams(unsigned int count, struct byte_stream **streams)
{
	for (unsigned int i = 0; i < count; i++) {
		if (streams[i])
			streams[i]->ops->destroy(streams[i]);
		streams[i] = NULL;
	}
}
