// SPDX-License-Identifier: Apache-2.0
// The end of QEMU's stream: a text that is announced with its length, and nothing after it.
#include "stream_end.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(stream_end, .timeout = 20);

/* Of `stream` in pieces: was the end seen, after which piece? It is said of no other. */
static bool ends(const char *stream, size_t n, size_t piece)
{
	struct stream_end s = {0};
	bool seen = false;

	for (size_t at = 0; at < n; at += piece) {
		size_t some = piece < n - at ? piece : n - at;

		cr_assert_not(seen, "too early, in pieces of %zu", piece);
		seen = stream_end_see(&s, (const uint8_t *)stream + at, some);
	}
	return seen;
}

static void expect(const char *stream, size_t n, bool want)
{
	for (size_t piece = 1; piece <= n; piece++)
		cr_expect_eq(ends(stream, n, piece), want, "pieces of %zu", piece);
}

#define EXPECT(stream, want) expect(stream, sizeof(stream) - 1, want)

Test(stream_end, is_where_the_text_ends)
{
	EXPECT("QEVM\0\0\0\3 all that \0\6\0\0\0\x0d{\"devices\":1}", true);
	EXPECT("\0\6\0\0\0\x0d{\"devices\":1}", true);
	EXPECT("..\0\6\0\0\0\2{}", true);
}

Test(stream_end, texts_within_the_text_are_part_of_it)
{
	EXPECT("..\0\6\0\0\0\x0f{\"d\":{\"e\":{}}}}", true);
}

Test(stream_end, is_not_where_it_is_not_announced)
{
	EXPECT("{}", false);
	EXPECT("\0\6\0\0\2{}", false);
	EXPECT("..\1\6\0\0\0\2{}", false);
	EXPECT("..\0\5\0\0\0\2{}", false);
	EXPECT("..\0\6\0\0\0\3{}", false);
	EXPECT("..\0\6\0\0\0\2[]", false);
	EXPECT("..\0\6\0\0\0\2{ ", false);
	EXPECT("..\0\6\xff\0\0\2{}", false);
}

Test(stream_end, what_comes_after_it_was_not_the_end)
{
	struct stream_end s = {0};

	cr_expect(stream_end_see(&s, (const uint8_t *)"..\0\6\0\0\0\2{}", 10));
	cr_expect_not(stream_end_see(&s, (const uint8_t *)".", 1));
	cr_expect(stream_end_see(&s, (const uint8_t *)"..\0\6\0\0\0\2{}", 10));
}

Test(stream_end, announcements_that_lead_nowhere_do_not_hide_it)
{
	char stream[1000] = {0};
	struct stream_end s = {0};
	size_t n = 0;

	for (int i = 0; i < 50; i++, n += 8)
		memcpy(stream + n, "\0\6\0\1\0\0{ ", 8);
	cr_expect_not(stream_end_see(&s, (const uint8_t *)stream, n));
	cr_expect(stream_end_see(&s, (const uint8_t *)"\0\6\0\0\0\2{}", 8));
}

Test(stream_end, lies_beyond_four_gigabytes_too)
{
	struct stream_end s = {.at = 5ull << 32};

	cr_expect(stream_end_see(&s, (const uint8_t *)"\0\6\0\0\0\2{}", 8));
}
