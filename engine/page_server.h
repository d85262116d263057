// SPDX-License-Identifier: Apache-2.0
// The source in post-copy: serves pages from our own mapping of guest RAM, QEMU may have gone; or,
// if its memory is private, out of QEMU, which stands still.
//
// Threads, each with a connection of its own:
//   page_server_serve  answers what the destination's guest waits for, at once, and right behind it
//                      what it will probably need next (prefetch.h)
//   page_server_push   sends all the rest, every page once: what follows the last page asked for,
//                      and round; it gives way to the other kind (urgency.h)
//
// "Unsent" is what no stream was given yet. What a stream was given may be lost with it: after a
// broken connection only the destination knows what it lacks. Then all threads are ended, and a new
// server begins with what the destination says it is owed.
#pragma once

#include <stdint.h>
#include "bitmap.h"
#include "byte_stream.h"
#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

struct page_server;

struct page_server_options {
	const struct ram_map *ram;	 /* borrowed, mapped or private; nobody writes it any more,
					  * which is seen to: ram_kept.h */
	const uint32_t *peer_page_sizes; /* bytes, one a block: the destination's pages, which come
					  * in one piece. Borrowed during the call; NULL: as ours */
	uint32_t round;			 /* number of the SYNC that ends the push */
	/* Push waits until nothing was asked for in so many microseconds, but at most so many for
	 * each PAGE_SERVER_PUSH_PAGES. 0: PAGE_SERVER_GRACE_US, PAGE_SERVER_PATIENCE_US. */
	uint32_t grace_us, patience_us;
	bool held; /* push begins with page_server_go */
	bool no_prefetch;
};

#define PAGE_SERVER_PUSH_PAGES 16u    /* in one go; or one page of the destination's */
#define PAGE_SERVER_GRACE_US 200u     /* the time from a page to the next fault, over a LAN */
#define PAGE_SERVER_PATIENCE_US 5000u /* so at least 12 MiB/s a stream are pushed */

struct page_server_stats {
	uint64_t requests;
	uint64_t pages_asked, pages_pushed, pages_prefetched; /* sent, zero ones included */
	uint64_t pages_zero;				      /* of all these */
	uint64_t prefetch_used; /* units guessed that a later fault proved right */
	uint64_t pages_left;	/* unsent */
};

/* Nothing is unsent at first. -ENOTSUP: a page size beyond WIRE_FRAME_PAGES_MAX. */
int page_server_new(const struct page_server_options *options, struct page_server **out,
		    struct errtext *err);
/* No thread may be inside. */
void page_server_destroy(struct page_server *s);

/* Add to what is unsent, before any thread serves or pushes: a whole set (source_stale), or a run,
 * which lies in its block. Whole pages of the destination's are added. */
void page_server_owe(struct page_server *s, unsigned int block, const struct bitmap *pages);
void page_server_owe_run(struct page_server *s, unsigned int block, const struct wire_run *run);

/* Body of a thread on a fault connection: answer requests until the destination closes it (0) or
 * it breaks. -EUCLEAN, also of the next: pages are not any more what they were, or cannot be read
 * any more (ram_kept.h); none such was sent. Streams are borrowed, and must not be of a kind whose
 * drain waits for the peer. */
int page_server_serve(struct page_server *s, unsigned int index, struct byte_stream *stream,
		      struct errtext *err);
/* Body of a thread on a RAM stream: push until nothing is unsent, then SYNC, and return 0. When all
 * of these threads have, every page has been sent. -ECANCELED after page_server_stop. */
int page_server_push(struct page_server *s, unsigned int index, struct byte_stream *stream,
		     struct errtext *err);
/* Any thread: those that push may begin. */
void page_server_go(struct page_server *s);
/* Any thread: end those that push. (Those that serve end with their streams.) */
void page_server_stop(struct page_server *s);

/* Any thread. */
void page_server_stats(struct page_server *s, struct page_server_stats *stats);
