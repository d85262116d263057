// SPDX-License-Identifier: Apache-2.0
// What the two ends of a bench say to each other.
#include "bench_words.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include "json_field.h"

Test(bench_words, a_wish_is_understood)
{
	struct bench_options got, o = {.memory = BENCH_HUGE, .data = 4096, .zero = 8192};
	_cleanup_json_ json_object *word = NULL;
	struct errtext err = {0};

	o.streams = 3;
	word = bench_words_wish(&o);
	cr_assert_eq(bench_words_options(word, &got, &err), 0, "%s", err.text);
	cr_assert_eq(got.memory, BENCH_HUGE);
	cr_assert_eq(got.data, 4096);
	cr_assert_eq(got.zero, 8192);
	cr_assert_eq(got.streams, 3);
}

Test(bench_words, private_memory_arrives_in_a_file)
{
	struct bench_options got, o = {.memory = BENCH_PRIVATE, .data = 4096, .streams = 1};
	_cleanup_json_ json_object *word = bench_words_wish(&o);

	cr_assert_eq(bench_words_options(word, &got, NULL), 0);
	cr_assert_eq(got.memory, BENCH_SMALL);
}

static void refused(const char *text)
{
	_cleanup_json_ json_object *word = json_tokener_parse(text);
	struct bench_options got;
	struct errtext err = {0};

	cr_assert_eq(bench_words_options(word, &got, &err), -EPROTO, "%s", text);
	cr_assert(err.text[0]);
}

Test(bench_words, what_is_out_of_bounds_is_refused)
{
	refused("{}");
	refused("{\"memory\":\"tmpfs\",\"data\":4096,\"zero\":0,\"streams\":9}");
	refused("{\"memory\":\"tmpfs\",\"data\":4096,\"zero\":0,\"streams\":0}");
	refused("{\"memory\":\"tmpfs\",\"data\":0,\"zero\":0,\"streams\":1}");
	refused("{\"memory\":\"tmpfs\",\"data\":1e17,\"zero\":1e18,\"streams\":1}");
	refused("{\"memory\":\"wood\",\"data\":4096,\"zero\":0,\"streams\":1}");
	refused("{\"memory\":\"tmpfs\",\"data\":\"much\",\"zero\":0,\"streams\":1}");
}

Test(bench_words, tokens)
{
	const uint8_t token[BENCH_TOKEN_SIZE] = {0, 1, 0xfe, 255, 16};
	_cleanup_json_ json_object *word = bench_words_token(token);
	_cleanup_json_ json_object *odd = json_tokener_parse("{\"token\":\"0102zz\"}");
	uint8_t got[BENCH_TOKEN_SIZE];

	cr_assert_eq(bench_words_take_token(word, got, NULL), 0);
	cr_assert_arr_eq(got, token, sizeof(token));
	cr_assert_eq(bench_words_take_token(odd, got, NULL), -EPROTO);
}
