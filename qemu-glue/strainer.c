// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream read as it comes, in pieces cut anywhere, and passed on without some of
// its pages.
//
// The stream, numbers big-endian (QEMU 7.2, 10.0 and 11.1, migration/savevm.c and ram.c):
//
//   "QEVM", version 3
//   07 configuration    be32 length, name of the machine type; not from machine types before 2.4.
//                       Subsections 05 follow for some capabilities (x-ignore-shared and others)
//                       that must not be on here
//   08 command          be16 command, be16 length, data; anywhere between sections
//   01 section start    be32 id, u8 length, name, be32 instance, be32 version; items
//   02, 03 part, end    be32 id; items
//   7e footer           be32 id, after each section; not from machine types before 2.4
//   04 full section     a device. Those with `early_setup` (virtio-mem, from 8.0 on) come before
//                       RAM; all others after its end, and then 00, 06 and the stream's description
//
// The items of the section "ram", version 4, are be64: an address within its block, whose lowest
// 12 bits are flags.
//
//   004 MEM_SIZE        the address is the length of all blocks, which follow, each: u8 length,
//                       name, be64 length (and more under capabilities that must not be on here).
//                       Once, first of all
//   008 PAGE            u8 length, name of the block; 4096 bytes
//   002 ZERO            u8 length, name of the block; the byte that fills the page, always 0
//   020 CONTINUE        with those two: no name, it is the block of the page before; also across
//                       sections
//   200 MULTIFD_FLUSH   nothing else; QEMU 8.1 and later, only with multifd
//   010 EOS             the end of the section
//
// A page that is kept gets its block's name, as the page that it continued may be gone.
//
// What has to be understood (a `head`, a few bytes) is gathered, then taken by the row of its step,
// which says what comes next. What has not (a `body`, mostly a page) is kept or skipped where it
// lies, so that the contents of dropped pages are not even touched.
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include "strainer_private.h"

int strainer_new(const struct ram_map *drop, struct strainer **out)
{
	struct strainer *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->drop = drop;
	strainer_gather(s, STRAINER_HEADER, 8);
	*out = s;
	return 0;
}

void strainer_destroy(struct strainer *s)
{
	free(s);
}

static int take(struct strainer *s, const struct strainer_sink *to)
{
	return s->step < STRAINER_ITEM ? strainer_vm_take(s, to) : strainer_ram_take(s, to);
}

/* As much of in[0..n) as is of one kind: a body or a part of it, a head or a part of it, or all
 * that is left. Returns how much that was, or a negative errno. */
static ssize_t strain_some(struct strainer *s, const uint8_t *in, size_t n,
			   const struct strainer_sink *to)
{
	bool pass = s->step == STRAINER_PASS, body = s->body != 0;
	size_t most = pass ? n : body ? s->body : s->need - s->have;
	size_t some = n < most ? n : most;
	int ret = 0;

	strainer_count(&s->read_bytes, some);
	if (pass)
		ret = strainer_keep(s, to, in, some);
	else if (body) {
		s->body -= some;
		ret = s->body_kept ? strainer_keep(s, to, in, some) : 0;
	} else {
		memcpy(s->head + s->have, in, some);
		s->have += some;
		ret = s->have == s->need ? take(s, to) : 0;
	}
	return ret < 0 ? ret : (ssize_t)some;
}

int strainer_strain(struct strainer *s, const uint8_t *in, size_t n,
		    int (*keep_to)(void *opaque, const uint8_t *at, size_t n), void *opaque,
		    struct errtext *err)
{
	const struct strainer_sink to = {keep_to, opaque, err};

	if (s->failed)
		return errtext_set(err, s->failed, "QEMU's migration stream was given up before");
	while (n) {
		ssize_t some = strain_some(s, in, n, &to);

		if (some < 0)
			return s->failed = (int)some;
		in += some;
		n -= (size_t)some;
	}
	return 0;
}

bool strainer_is_past_ram(const struct strainer *s)
{
	return atomic_load_explicit(&s->past_ram, memory_order_relaxed);
}

void strainer_stats(const struct strainer *s, struct strainer_stats *out)
{
	*out = (struct strainer_stats){
		.data_pages = atomic_load_explicit(&s->data_pages, memory_order_relaxed),
		.zero_pages = atomic_load_explicit(&s->zero_pages, memory_order_relaxed),
		.read_bytes = atomic_load_explicit(&s->read_bytes, memory_order_relaxed),
		.kept_bytes = atomic_load_explicit(&s->kept_bytes, memory_order_relaxed),
		.past_ram = strainer_is_past_ram(s)};
}
