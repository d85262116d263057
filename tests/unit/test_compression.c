// SPDX-License-Identifier: Apache-2.0
// The choice of a compression, as a text and as data.
#include "compression.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>

struct choice {
	char text[16];
	struct compression how;
	char again[16];
};

ParameterizedTestParameters(compression, texts)
{
	static struct choice rows[] = {
		{"none", {COMPRESSION_NONE, 0}, "none"},
		{"auto", {COMPRESSION_AUTO, 0}, "auto"},
		{"zstd", {COMPRESSION_ZSTD, 1}, "zstd:1"},
		{"zstd:1", {COMPRESSION_ZSTD, 1}, "zstd:1"},
		{"zstd:03", {COMPRESSION_ZSTD, 3}, "zstd:3"},
		{"zstd:19", {COMPRESSION_ZSTD, 19}, "zstd:19"},
	};

	return cr_make_param_array(struct choice, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct choice *row, compression, texts)
{
	char text[COMPRESSION_TEXT_SIZE];
	struct compression how;

	cr_assert_eq(compression_parse(row->text, &how), 0);
	cr_assert_eq(how.kind, row->how.kind);
	cr_assert_eq(how.level, row->how.level);
	cr_assert_str_eq(compression_text(&how, text), row->again);
}

Test(compression, what_is_none)
{
	static const char *const texts[] = {"",	       "None",	  "zstd:",	"zstd:0", "zstd:20",
					    "zstd:-1", "zstd: 1", "zstd:1 ",	"zstd:x", "zstd:1x",
					    "zstd1",   "lz4",	  "zstd:00000", "no",	  "auto:1"};
	struct compression how;

	for (unsigned int i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		cr_assert_eq(compression_parse(texts[i], &how), -EINVAL, "%s", texts[i]);
}
