// SPDX-License-Identifier: Apache-2.0
// The end of QEMU's migration stream, seen by one who only carries it.
//
// QEMU's stream ends with a description of itself: QEMU_VM_EOF (0), QEMU_VM_VMDESCRIPTION (6), the
// length of a JSON text (be32), and that text. It follows the state of the last device and is meant
// for tools that look into a stream (QEMU, migration/savevm.c and scripts/analyze-migration.py;
// 2.3 to 11.1). No part of the stream says how long it is, so one who does not know every device
// cannot find the end by reading on; but a text that is announced with its length, and with which
// everything that has come ends, is one.
//
// A guest can write such a text into memory that QEMU sends in the stream (that of its graphics
// card). It takes effect only if nothing comes after it, and all it does then is that its own
// migration fails, or looks at memory too early.
//
// A machine type with `suppress-vmdesc=on` has no such end (those of QEMU 2.2 and before).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_END_HEAD 6 /* bytes before the text: 0, 6, its length */
#define STREAM_END_TEXTS 8

/* Zeroed: the beginning of a stream. Belongs to one thread. */
struct stream_end {
	uint64_t at;			 /* bytes of the stream that have come */
	uint8_t tail[STREAM_END_HEAD];	 /* the last of them */
	uint64_t ends[STREAM_END_TEXTS]; /* of texts announced, the newest few; 0: none */
	unsigned int next;
};

/* The next n (> 0) bytes of the stream. True: with them, it has ended. */
bool stream_end_see(struct stream_end *s, const uint8_t *in, size_t n);
