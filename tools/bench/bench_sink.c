// SPDX-License-Identifier: Apache-2.0
// The destination of a bench: serves one source on a listening socket.
//
//     source                                  sink
//       | {"memory":..,"data":..,...} ----------> |   what is to come
//       | <------------------- {"token":..} ----- |
//       | {"run":"bare","bytes":n} --------------> |   n over each stream
//       | <------------------- {"ready":true} --- |   there is memory for them
//       | == streams ===========================> |
//       | <-------------------- {"cpu_us":..} --- |
//       | {"run":"engine"} ----------------------> |
//       | <------------------- {"ready":true} --- |   its memory is made
//       | == streams ===========================> |
//       | <----------------------- {"round":k} -- |   for each: all of it is in memory
//       |    streams end                          |
//       | <- {"cpu_us":..,"memory":..,"digest":.. |
#include "bench_sink.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "bench_bare.h"
#include "bench_link.h"
#include "bench_ram.h"
#include "bench_usage.h"
#include "bench_words.h"
#include "cleanup.h"
#include "destination.h"
#include "failure_point.h"
#include "json_field.h"

struct sink {
	int listener;
	struct tls_credentials *credentials;
	struct line control;
	struct bench_options opt;
	uint8_t token[BENCH_TOKEN_SIZE];
	struct byte_stream *streams[BENCH_STREAMS_MAX];
	struct destination *destination;
	atomic_uint_least64_t memory; /* the most */

	pthread_mutex_t lock;
	/* under lock */
	unsigned int synced; /* streams that have all of the round */
	int result;	     /* of the first stream that broke */
	struct errtext err;
};

struct reader {
	struct sink *sink;
	unsigned int index;
};

/* ---- the engine's streams ---- */

static void note_memory(struct sink *s)
{
	uint64_t now = bench_usage_memory();

	if (now > atomic_load(&s->memory))
		atomic_store(&s->memory, now);
}

/* By a stream's thread. */
static void on_synced(void *opaque, unsigned int stream, uint32_t round)
{
	struct sink *s = opaque;
	json_object *o;

	(void)stream;
	pthread_mutex_lock(&s->lock);
	if (++s->synced == s->opt.streams) {
		s->synced = 0;
		o = json_object_new_object();
		json_put_number(o, "round", round);
		bench_link_say(s->control, o, NULL); /* a source that has gone ends the streams */
	}
	pthread_mutex_unlock(&s->lock);
	note_memory(s);
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct sink *s = r->sink;
	struct errtext err = {0};
	int ret = destination_receive(s->destination, r->index, s->streams[r->index], &err);

	pthread_mutex_lock(&s->lock);
	if (ret < 0 && s->result == 0) {
		s->result = ret;
		s->err = err;
		for (unsigned int i = 0; i < s->opt.streams; i++)
			s->streams[i]->ops->shutdown(s->streams[i]);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int receive(struct sink *s, struct errtext *err)
{
	struct reader readers[BENCH_STREAMS_MAX];
	pthread_t ids[BENCH_STREAMS_MAX];
	unsigned int started = 0;
	int ret = 0;

	s->result = 0;
	s->synced = 0;
	for (; ret == 0 && started < s->opt.streams; started += ret == 0) {
		readers[started] = (struct reader){s, started};
		ret = -pthread_create(&ids[started], NULL, reader_main, &readers[started]);
	}
	for (unsigned int i = 0; ret < 0 && i < started; i++)
		s->streams[i]->ops->shutdown(s->streams[i]);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	if (ret < 0)
		return errtext_set(err, ret, "no thread for a stream");
	if (s->result < 0)
		*err = s->err;
	return s->result;
}

static int say_ready(struct sink *s, struct errtext *err)
{
	json_object *word = json_object_new_object();

	json_object_object_add(word, "ready", json_object_new_boolean(true));
	return bench_link_say(s->control, word, err);
}

static int run_engine(struct sink *s, json_object *answer, struct errtext *err)
{
	struct ram_map ram = {0};
	const struct destination_options options = {.ram = &ram, .synced = on_synced, .opaque = s};
	uint64_t used;
	int ret = bench_ram_new(&s->opt, &ram, err);

	if (ret == 0)
		ret = destination_new(&options, &s->destination, err);
	if (ret == 0)
		ret = say_ready(s, err);
	if (ret == 0)
		ret = bench_link_accept_streams(s->listener, s->credentials, s->token,
						s->opt.streams, s->streams, err);
	used = bench_usage_cpu_us();
	if (ret == 0)
		ret = receive(s, err);
	json_put_number(answer, "cpu_us", bench_usage_cpu_us() - used);
	json_put_number(answer, "memory", atomic_load(&s->memory));
	bench_link_close_streams(s->opt.streams, s->streams);
	if (ret == 0 && failure_point("bench-compare") < 0)
		ram.blocks[0].map[0] ^= 1; /* memory that differs must show */
	if (ret == 0)
		ret = bench_words_digest(&ram, s->opt.streams, answer, err);
	destination_destroy(s->destination);
	s->destination = NULL;
	ram_map_destroy(&ram);
	return ret;
}

static int run_bare(struct sink *s, uint64_t bytes, json_object *answer, struct errtext *err)
{
	_cleanup_free_ uint8_t *buffers = bench_bare_buffers(s->opt.streams);
	uint64_t used;
	int ret = buffers ? say_ready(s, err) : errtext_set(err, -ENOMEM, "out of memory");

	if (ret == 0)
		ret = bench_link_accept_streams(s->listener, s->credentials, s->token,
						s->opt.streams, s->streams, err);
	used = bench_usage_cpu_us();
	if (ret == 0)
		ret = bench_bare_receive(s->streams, s->opt.streams, bytes, buffers, err);
	json_put_number(answer, "cpu_us", bench_usage_cpu_us() - used);
	bench_link_close_streams(s->opt.streams, s->streams);
	return ret;
}

/* ---- words ---- */

static int answer_one(struct sink *s, json_object *word, struct errtext *err)
{
	_cleanup_json_ json_object *answer = json_object_new_object();
	char run[16];
	double bytes = 0;
	int ret;

	json_field_text(word, "run", run, sizeof(run));
	if (strcmp(run, "engine") == 0)
		ret = run_engine(s, answer, err);
	else if (strcmp(run, "bare") == 0 && json_field_number(word, "bytes", &bytes))
		ret = run_bare(s, (uint64_t)bytes, answer, err);
	else
		ret = errtext_set(err, -EPROTO, "there is no run '%s'", run);
	return ret < 0 ? ret : bench_link_say(s->control, steal_ptr(&answer), err);
}

static int greet(struct sink *s, struct errtext *err)
{
	_cleanup_json_ json_object *word = NULL;
	int ret = bench_link_hear(s->control, &word, err);

	if (ret == 0)
		ret = bench_words_options(word, &s->opt, err);
	if (ret == 0 && getrandom(s->token, sizeof(s->token), 0) != sizeof(s->token))
		ret = errtext_set(err, -EIO, "no random numbers");
	return ret < 0 ? ret : bench_link_say(s->control, bench_words_token(s->token), err);
}

/* Until the source has no more to ask. */
static int serve(struct sink *s, struct errtext *err)
{
	int ret = greet(s, err);

	while (ret == 0) {
		_cleanup_json_ json_object *word = NULL;

		ret = bench_link_hear(s->control, &word, err);
		if (ret == 0 && json_field(word, "end"))
			return 0;
		if (ret == 0)
			ret = answer_one(s, word, err);
	}
	return ret;
}

int bench_sink_serve(int listener, struct tls_credentials *credentials, struct errtext *err)
{
	struct sink s = {.listener = listener,
			 .credentials = credentials,
			 .control = LINE_NONE,
			 .lock = PTHREAD_MUTEX_INITIALIZER};
	int ret = bench_link_accept(listener, credentials, &s.control, err);

	if (ret < 0)
		return ret;
	ret = serve(&s, err);
	if (ret < 0 && ret != -EREMOTEIO) {
		json_object *word = json_object_new_object();

		json_put_text(word, "error", err->text);
		bench_link_say(s.control, word, NULL);
	}
	line_close(&s.control);
	return ret;
}
