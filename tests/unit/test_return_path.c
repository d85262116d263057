// SPDX-License-Identifier: Apache-2.0
// The return path: an acknowledgement first, if it is known; the end when the stream has ended.
#include "return_path.h"

#include <criterion/criterion.h>
#include <string.h>

#define ACK "\0\7\0\0"
#define SHUT "\0\1\0\4\0\0\0\0"
#define STREAM "QEVM devices\0\6\0\0\0\x0d{\"devices\":1}"

TestSuite(return_path, .timeout = 20);

static void say(struct return_path *rp, const char *in, size_t n, const char *want, size_t want_n)
{
	uint8_t out[RETURN_PATH_MAX];
	size_t said = return_path_answer(rp, (const uint8_t *)in, n, out);

	cr_assert_eq(said, want_n, "%zu bytes", said);
	cr_assert_arr_eq(out, want, want_n);
}

#define SAY(rp, in, want) say(rp, in, sizeof(in) - 1, want, sizeof(want) - 1)

Test(return_path, the_acknowledgement_comes_before_anything_else)
{
	struct return_path rp = {.acknowledge = true};

	SAY(&rp, "", ACK);
	SAY(&rp, "", "");
	SAY(&rp, "QEVM", "");
}

Test(return_path, who_does_not_know_it_is_not_told)
{
	struct return_path rp = {0};

	SAY(&rp, "", "");
	SAY(&rp, STREAM, SHUT);
}

Test(return_path, the_end_is_said_once_and_when_it_has_come)
{
	for (size_t piece = 1; piece <= sizeof(STREAM) - 1; piece++) {
		struct return_path rp = {.acknowledge = true};
		size_t at, some;

		SAY(&rp, "", ACK);
		for (at = 0; at < sizeof(STREAM) - 1; at += some) {
			bool last = sizeof(STREAM) - 1 - at <= piece;

			some = last ? sizeof(STREAM) - 1 - at : piece;
			say(&rp, STREAM + at, some, SHUT, last ? 8 : 0);
		}
		SAY(&rp, STREAM, "");
	}
}

Test(return_path, both_may_be_due_at_once)
{
	struct return_path rp = {.acknowledge = true};

	SAY(&rp, STREAM, ACK SHUT);
}
