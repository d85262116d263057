// SPDX-License-Identifier: Apache-2.0
// What the two ends of a bench say to each other, as JSON. Stateless.
#pragma once

#include <json-c/json.h>
#include "bench_link.h"
#include "bench_options.h"
#include "errtext.h"
#include "ram_map.h"

#define BENCH_DIGEST_SIZE 33 /* as text, with its NUL */

/* What the source wants, and what the sink makes of it: -EPROTO with a text for what is out of
 * bounds. */
json_object *bench_words_wish(const struct bench_options *o);
int bench_words_options(json_object *word, struct bench_options *o, struct errtext *err);
json_object *bench_words_token(const uint8_t token[BENCH_TOKEN_SIZE]);
int bench_words_take_token(json_object *word, uint8_t token[BENCH_TOKEN_SIZE], struct errtext *err);
/* Adds "digest", of all of the memory, which nobody may write meanwhile. */
int bench_words_digest(const struct ram_map *ram, unsigned int threads, json_object *o,
		       struct errtext *err);
