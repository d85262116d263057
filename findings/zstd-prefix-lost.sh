#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# zstd: only the last 8 << hashLog bytes of a prefix count, and at level 1 that is 128 KiB. No error, no warning.
#
# ZSTD_CCtx_refPrefix is how one compresses "what has changed since". Two limits, both taken from the level and the size
# of the data, make part of a large prefix useless, and the frame is valid and just larger: the window, which must reach
# back over the new data to the old, and the size of the hash table (from level 5 on: the larger of hash and chain
# table), by which the library decides how much of the prefix, from its end, it looks at. Widening the window, which is
# what one thinks of first, is not enough. Seen with libzstd 1.5.7, random bytes against themselves, level 1:
#
#     128 KiB                                      22 bytes
#     256 KiB                                 131,097: the first half has not been found
#       1 MiB                               1,048,610: nothing has
#       1 MiB, windowLog 23                   917,547: the last 128 KiB have
#       1 MiB, windowLog 23 and hashLog 17        106
#
# 1.5.4 still finds all of the 256 KiB. The script passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

packages_unpack trixie libzstd1=1.5.7+dfsg-1 libzstd-dev=1.5.7+dfsg-1

cat >"$WORK/prefix.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zstd.h>

/* Compressed size of n random bytes, with the same bytes as prefix. */
static size_t with_prefix(size_t n, int level, int window_log, int hash_log)
{
	char *old = malloc(n), *new = malloc(n), *out = malloc(ZSTD_compressBound(n));
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t size;

	for (size_t at = 0; at < n; at += 256)
		if (getrandom(old + at, 256, 0) != 256)
			abort();
	memcpy(new, old, n);
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log); /* 0: by level and size */
	ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, hash_log);
	if (ZSTD_isError(ZSTD_CCtx_refPrefix(c, old, n)))
		abort();
	size = ZSTD_compress2(c, out, ZSTD_compressBound(n), new, n);
	if (ZSTD_isError(size))
		abort();
	ZSTD_freeCCtx(c);
	free(old);
	free(new);
	free(out);
	return size;
}

int main(void)
{
	printf("version %s\n", ZSTD_versionString());
	printf("whole %zu\n", with_prefix(128 << 10, 1, 0, 0));
	printf("half %zu\n", with_prefix(256 << 10, 1, 0, 0));
	printf("nothing %zu\n", with_prefix(1 << 20, 1, 0, 0));
	printf("window %zu\n", with_prefix(1 << 20, 1, 23, 0));
	printf("both %zu\n", with_prefix(1 << 20, 1, 23, 17));
}
END
lib=$(echo "$TREE"/usr/lib/*-linux-gnu)
cc -O2 -I"$TREE/usr/include" -o "$WORK/prefix" "$WORK/prefix.c" "$lib/libzstd.so"
LD_LIBRARY_PATH=$lib "$WORK/prefix" | tee "$WORK/seen"

value() {
	awk -v name="$1" '$1 == name { print $2 }' "$WORK/seen"
}

expect "libzstd 1.5.7 was tried" test "$(value version)" = 1.5.7
expect "128 KiB: the prefix is found" test "$(value whole)" -lt 1000
expect "256 KiB: only its second half is" test "$(value half)" -gt 131000 -a "$(value half)" -lt 132000
expect "1 MiB: nothing is" test "$(value nothing)" -gt 1048576
expect "1 MiB, wider window: the last 128 KiB are" test "$(value window)" -gt 917000 -a "$(value window)" -lt 918000
expect "1 MiB, wider window and larger table: all is" test "$(value both)" -lt 1000
