// SPDX-License-Identifier: Apache-2.0
// The ceiling of streams: bytes that lie ready, with nothing to do but to send and receive them.
#pragma once

#include <stdint.h>
#include "byte_stream.h"
#include "errtext.h"

/* Memory for so many streams' bytes, in use already, so that what is measured does not have to get
 * it; the caller's, to free. NULL without memory. */
uint8_t *bench_bare_buffers(unsigned int count);
/* So many bytes over each of the streams, a thread each, out of those buffers or into them: to
 * their end. 0 or a negative errno with a text. */
int bench_bare_send(struct byte_stream **streams, unsigned int count, uint64_t bytes,
		    uint8_t *buffers, struct errtext *err);
int bench_bare_receive(struct byte_stream **streams, unsigned int count, uint64_t bytes,
		       uint8_t *buffers, struct errtext *err);
/* memcpy by one thread, bytes per second of its processor time, out of memory rather than caches; 0
 * without memory for it. */
double bench_bare_memcpy(void);
