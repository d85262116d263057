// SPDX-License-Identifier: Apache-2.0
// A number of bytes for people.
#include "size_text.h"

#include <stdio.h>

const char *size_text(uint64_t bytes, char buf[SIZE_TEXT_SIZE])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double n = (double)bytes;
	int i = 0;

	for (; n >= 1024 && i < 4; i++)
		n /= 1024;
	snprintf(buf, SIZE_TEXT_SIZE, i ? "%.1f %s" : "%.0f %s", n, unit[i]);
	return buf;
}
