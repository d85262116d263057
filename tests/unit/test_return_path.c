// SPDX-License-Identifier: Apache-2.0
// The return path: one acknowledgement goes first, the real one is dropped, all else passes.
#include "return_path.h"

#include <criterion/criterion.h>
#include <string.h>

#define ACK "\0\7\0\0"
#define PONG "\0\2\0\4\0\0\0\1"
#define SHUT "\0\1\0\4\0\0\0\0"

TestSuite(return_path, .timeout = 20);

/* All of `in`, in pieces of `piece` bytes, as the pump gives it. */
static size_t translate(const char *in, size_t n, size_t piece, uint8_t *out)
{
	struct return_path rp = {0};
	size_t done = return_path_translate(&rp, NULL, 0, out);

	for (size_t at = 0; at < n; at += piece) {
		size_t some = piece < n - at ? piece : n - at;
		uint8_t given[256];
		size_t more = return_path_translate(&rp, (const uint8_t *)in + at, some, given);

		cr_assert_leq(more, some + RETURN_PATH_EXTRA);
		memcpy(out + done, given, more);
		done += more;
	}
	return done;
}

static void expect(const char *in, size_t n, const char *want, size_t want_n)
{
	for (size_t piece = 1; piece <= n + 1; piece++) {
		uint8_t out[256];
		size_t done = translate(in, n, piece, out);

		cr_assert_eq(done, want_n, "pieces of %zu: %zu bytes", piece, done);
		cr_assert_arr_eq(out, want, want_n);
	}
}

#define EXPECT(in, want) expect(in, sizeof(in) - 1, want, sizeof(want) - 1)

Test(return_path, the_acknowledgement_comes_before_anything_else)
{
	EXPECT("", ACK);
}

Test(return_path, the_real_one_is_dropped)
{
	EXPECT(ACK SHUT, ACK SHUT);
	EXPECT(PONG ACK SHUT, ACK PONG SHUT);
}

Test(return_path, a_second_real_one_is_none_of_ours)
{
	EXPECT(ACK ACK SHUT, ACK ACK SHUT);
}

Test(return_path, bodies_that_look_like_heads_pass)
{
	EXPECT("\0\2\0\4" ACK SHUT, ACK "\0\2\0\4" ACK SHUT);
}

Test(return_path, types_that_are_not_known_pass)
{
	EXPECT("\1\0\0\2xy" ACK SHUT, ACK "\1\0\0\2xy" SHUT);
}

Test(return_path, an_acknowledgement_with_a_body_is_something_else)
{
	EXPECT("\0\7\0\1z" SHUT, ACK "\0\7\0\1z" SHUT);
}

Test(return_path, the_ack_is_put_in_with_the_first_bytes_too)
{
	struct return_path rp = {0};
	uint8_t out[64];
	size_t n = return_path_translate(&rp, (const uint8_t *)SHUT, 8, out);

	cr_assert_eq(n, 12);
	cr_assert_arr_eq(out, ACK SHUT, 12);
}
