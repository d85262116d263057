// SPDX-License-Identifier: Apache-2.0
// What a strainer gathers and keeps.
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "strainer_private.h"

void strainer_count(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, before + n, memory_order_relaxed);
}

int strainer_misfit(const struct strainer *s, const struct strainer_sink *to, const char *fmt, ...)
{
	char text[ERRTEXT_SIZE / 2];
	va_list args;

	va_start(args, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): seen only after other files */
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	errtext_make_printable(text);
	return errtext_set(to->err, -EPROTO,
			   "QEMU's migration stream cannot be strained: %s, at its byte %" PRIu64
			   "; please report this, with QEMU's version",
			   text, atomic_load_explicit(&s->read_bytes, memory_order_relaxed));
}

int strainer_keep(struct strainer *s, const struct strainer_sink *to, const uint8_t *at, size_t n)
{
	strainer_count(&s->kept_bytes, n);
	return to->keep(to->opaque, at, n);
}

void strainer_gather(struct strainer *s, enum strainer_step step, size_t n)
{
	s->step = step;
	s->have = 0;
	s->need = n;
}

int strainer_keep_head(struct strainer *s, const struct strainer_sink *to, enum strainer_step next,
		       size_t n)
{
	int ret = strainer_keep(s, to, s->head, s->need);

	strainer_gather(s, next, n);
	return ret;
}

void strainer_set_body(struct strainer *s, size_t n, bool kept)
{
	s->body = n;
	s->body_kept = kept;
}
