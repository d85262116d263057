// SPDX-License-Identifier: Apache-2.0
// The choice of a compression, as a text and as data.
#include "compression.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD "zstd"
#define ZSTD_LEVEL_USUAL 1 /* higher ones cost more time than most networks leave */

static int parse_level(const char *text, int *level)
{
	size_t digits = strspn(text, "0123456789");

	if (digits < 1 || digits > 2 || text[digits])
		return -EINVAL;
	*level = (int)strtol(text, NULL, 10);
	return *level >= 1 && *level <= COMPRESSION_LEVEL_MAX ? 0 : -EINVAL;
}

int compression_parse(const char *text, struct compression *how)
{
	*how = (struct compression){.kind = COMPRESSION_NONE};
	if (strcmp(text, "none") == 0)
		return 0;
	*how = (struct compression){.kind = COMPRESSION_AUTO};
	if (strcmp(text, "auto") == 0)
		return 0;
	*how = (struct compression){.kind = COMPRESSION_ZSTD, .level = ZSTD_LEVEL_USUAL};
	if (strcmp(text, ZSTD) == 0)
		return 0;
	if (strncmp(text, ZSTD ":", strlen(ZSTD ":")) != 0)
		return -EINVAL;
	return parse_level(text + strlen(ZSTD ":"), &how->level);
}

char *compression_text(const struct compression *how, char text[COMPRESSION_TEXT_SIZE])
{
	if (how->kind == COMPRESSION_ZSTD)
		snprintf(text, COMPRESSION_TEXT_SIZE, ZSTD ":%d", how->level);
	else
		snprintf(text, COMPRESSION_TEXT_SIZE, "%s",
			 how->kind == COMPRESSION_AUTO ? "auto" : "none");
	return text;
}
