// SPDX-License-Identifier: Apache-2.0
// The source's connections in post-copy: a control channel, some on which the destination asks for
// pages, and some that push the rest.
//
// Made before the hand-over, while the guest still runs here. When anything of it breaks, all of it
// is made anew, with growing pauses and for as long as it takes: the guest runs on the other host,
// and its memory is here. Only the destination knows what has arrived, so each new set begins with
// its telling what it is owed.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "door.h"
#include "errtext.h"
#include "page_server.h"
#include "proof.h"
#include "source.h"

struct pacer;
struct page_link;

enum page_link_state {
	PAGE_LINK_BROKEN,   /* trying again */
	PAGE_LINK_RESUMED,  /* connected anew */
	PAGE_LINK_COMPLETE, /* every page has arrived, and the destination has tidied up */
	PAGE_LINK_ENDED,    /* the destination has no such guest (any more); or our pages are not
			     * any more what they were, or cannot be read, and it was told so */
	PAGE_LINK_WAITING,  /* the destination has no room for a page: text says where */
};

struct page_link_options {
	const struct peer *peer;   /* borrowed; with the migration's session */
	const struct ram_map *ram; /* borrowed, mapped readable, and sealed from now on
				    * (ram_kept.h); from page_link_serve on nobody writes it, and
				    * before that its blocks' `kept` is noted */
	struct pacer *pacer;	   /* borrowed, may be NULL: pushed pages wait for it, those asked
				    * for are only charged. What a byte costs its owner finds;
				    * page_link_resume takes full segments for it */
	unsigned int faults;	   /* connections, 1..PAGE_LINK_STREAMS_MAX */
	unsigned int pushes;	   /* the same */
	uint32_t silence_ms;	   /* the destination counts as lost after so long */
	bool no_prefetch;
	bool gives_back; /* the guest gives memory back, or has done so (proof.h) */
	bool balloon;	 /* it may, but only by its balloon */
	/* From a thread of ours. Nothing comes after COMPLETE or ENDED. */
	void (*changed)(void *opaque, enum page_link_state state, const char *text);
	void *opaque;
};

#define PAGE_LINK_STREAMS_MAX 16u
/* More than the guest has vCPUs are of no use; more than these neither, on any network seen. */
#define PAGE_LINK_FAULTS 8u

/* Connect; nothing is served yet. */
int page_link_new(const struct page_link_options *options, struct page_link **out,
		  struct errtext *err);
/* Carry on what another process began: connect in the background, until it succeeds. */
int page_link_resume(const struct page_link_options *options, struct page_link **out,
		     struct errtext *err);
/* The guest has stopped: serve what the stale rounds of `source` found. Once, after
 * page_link_new. Nothing is pushed yet: to load its devices QEMU needs a few pages and all the CPU
 * that it can get. gives_back: as in the options, if it is known since. */
int page_link_serve(struct page_link *l, struct source *source, bool gives_back,
		    struct errtext *err);
/* The guest runs there, or it must not be waited for: push the rest. */
void page_link_push(struct page_link *l);
/* Ends all threads; pages that were not sent stay unsent. NULL is fine. */
void page_link_destroy(struct page_link *l);

/* Any thread. */
void page_link_stats(struct page_link *l, struct page_server_stats *stats);
/* What the destination says of it; zeroes until COMPLETE. */
void page_link_result(struct page_link *l, struct wire_complete *result);
/* ... and what was proven of its memory; zeroes without WIRE_LISTEN's prove. Damage that one set
 * found stays. */
void page_link_proof(struct page_link *l, struct proof_result *result);
/* -EBADMSG, with a text that says what to do, if the memory of `domain` on `host` is damaged. */
int page_link_judge(struct page_link *l, const char *domain, const char *host, struct errtext *err);
uint64_t page_link_bytes(struct page_link *l);
