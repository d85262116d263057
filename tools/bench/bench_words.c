// SPDX-License-Identifier: Apache-2.0
// What the two ends of a bench say to each other, as JSON.
#include "bench_words.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "digest.h"
#include "json_field.h"

#define SIZE_MAX_BYTES (1ull << 44)

json_object *bench_words_wish(const struct bench_options *o)
{
	json_object *word = json_object_new_object();

	json_put_text(word, "memory", bench_memory_name(o->memory));
	json_put_number(word, "data", o->data);
	json_put_number(word, "zero", o->zero);
	json_put_number(word, "streams", o->streams);
	return word;
}

int bench_words_options(json_object *word, struct bench_options *o, struct errtext *err)
{
	double data = 0, zero = 0, streams = 0;
	char memory[16];

	*o = (struct bench_options){0};
	json_field_text(word, "memory", memory, sizeof(memory));
	if (!bench_memory_of(memory, &o->memory) || !json_field_number(word, "data", &data) ||
	    !json_field_number(word, "zero", &zero) ||
	    !json_field_number(word, "streams", &streams) || data < 1 ||
	    data + zero > (double)SIZE_MAX_BYTES || streams < 1 || streams > BENCH_STREAMS_MAX)
		return errtext_set(err, -EPROTO, "the other end is no dray bench, or another one");
	/* Private memory arrives in a file. */
	if (o->memory == BENCH_PRIVATE)
		o->memory = BENCH_SMALL;
	o->data = (uint64_t)data;
	o->zero = (uint64_t)zero;
	o->streams = (unsigned int)streams;
	return 0;
}

static void to_hex(const uint8_t *bytes, size_t n, char *text)
{
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

json_object *bench_words_token(const uint8_t token[BENCH_TOKEN_SIZE])
{
	json_object *word = json_object_new_object();
	char text[2 * BENCH_TOKEN_SIZE + 1];

	to_hex(token, BENCH_TOKEN_SIZE, text);
	json_put_text(word, "token", text);
	return word;
}

int bench_words_take_token(json_object *word, uint8_t token[BENCH_TOKEN_SIZE], struct errtext *err)
{
	char text[2 * BENCH_TOKEN_SIZE + 1];

	json_field_text(word, "token", text, sizeof(text));
	for (unsigned int i = 0; i < BENCH_TOKEN_SIZE; i++)
		/* Two digits, by their format. */
		if (sscanf(text + (size_t)2 * i, "%2hhx", &token[i]) != 1)
			return errtext_set(err, -EPROTO, "the other end is no dray bench");
	return 0;
}

int bench_words_digest(const struct ram_map *ram, unsigned int threads, json_object *o,
		       struct errtext *err)
{
	const atomic_bool never = false;
	struct wire_digest digest;
	char text[BENCH_DIGEST_SIZE];
	int ret = digest_ram(ram, threads, &never, &digest, err);

	if (ret < 0)
		return ret;
	to_hex(digest.digest[0], sizeof(digest.digest[0]), text);
	json_put_text(o, "digest", text);
	return 0;
}
