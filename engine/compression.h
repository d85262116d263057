// SPDX-License-Identifier: Apache-2.0
// Whether pages are compressed on their way, and how: what the user chose.
//
// Plain data, no state; any thread.
#pragma once

enum compression_kind {
	COMPRESSION_NONE,
	COMPRESSION_ZSTD, /* every batch, at one level */
	COMPRESSION_AUTO, /* by zstd, where it pays, at the level that pays most */
};

#define COMPRESSION_LEVEL_MAX 19
#define COMPRESSION_TEXT_SIZE 16

struct compression {
	enum compression_kind kind;
	int level; /* of COMPRESSION_ZSTD, 1..COMPRESSION_LEVEL_MAX */
};

/* "auto", "none", "zstd" or "zstd:LEVEL". 0, or -EINVAL. */
int compression_parse(const char *text, struct compression *how);
/* The same back, the level always named. Returns text. */
char *compression_text(const struct compression *how, char text[COMPRESSION_TEXT_SIZE]);
