// SPDX-License-Identifier: Apache-2.0
// Puts pages that arrive in post-copy where the guest waits for them, and keeps the account.
//
// A page is placed only while it is owed, by UFFDIO_COPY, which never overwrites: whatever comes
// late, by fault and by push at once, or twice after a reconnection, cannot harm what the guest has
// written since. Then it leaves the owed set. A page that is not owed and yet missing is a hole,
// that is zero.
//
// Where there is no memory for a page its placer waits until there is, with a growing pause, and
// with the page in its hands; so do those that come after it.
//
// Errors: -ESRCH, QEMU has gone; -ENOMEM, there is no memory for a page, and nobody may wait any
// more; -EPROTO, the source does not keep to the rules. A page that could not be placed stays owed.
//
// Any thread may call anything but placer_destroy.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "owed.h"
#include "ram_map.h"
#include "wire.h"

struct placer;

enum placer_cause {
	PLACER_FAULT,	 /* the guest waited for it */
	PLACER_PUSH,	 /* it came by itself */
	PLACER_PREFETCH, /* it came because the source guessed that it would be needed */
	PLACER_CAUSES_
};

struct placer_options {
	int uffd;		   /* borrowed: missing.h */
	const struct ram_map *ram; /* borrowed */
	struct owed *owed;	   /* borrowed */
	bool tracked;		   /* as it was registered: missing.h */
	/* Nothing is owed any more. Called once, by whichever thread placed the last page, or by
	 * placer_begin; it must not destroy what that thread still uses. */
	void (*complete)(void *opaque);
	/* There is no memory for a page: where, and how much is left. Called again while that
	 * lasts, by whoever waits. May be NULL. */
	void (*lacking)(void *opaque, const char *text);
	void *opaque;
};

struct placer_stats {
	uint64_t pages[PLACER_CAUSES_]; /* 4 KiB pages that came with their content, or as zero */
	uint64_t pages_late;		/* came when they were there already */
	uint64_t holes;			/* faults answered with zeroes from knowledge */
	uint64_t pages_left;		/* owed */
};

/* Blocks must be registered (missing_register) before anything is placed. */
int placer_new(const struct placer_options *options, struct placer **out, struct errtext *err);
void placer_destroy(struct placer *p);

/* The owed set is complete and the guest may run, or runs already. Wakes all threads of the guest
 * that wait for a page: a fault that was read by a process which has died since would never be
 * answered, and comes anew. */
int placer_begin(struct placer *p, struct errtext *err);

/* The pages of a PAGES or ZERO frame; content is that of all runs, one after the other. Their units
 * must be whole (-EPROTO). Whoever waits for one of them goes on, or faults anew; for pushed pages
 * that holds for those that were owed. */
int placer_frame(struct placer *p, const struct wire_frame *f, enum placer_cause cause,
		 const uint8_t *content, struct errtext *err);
/* A fault on a page that is not owed. */
int placer_hole(struct placer *p, unsigned int block, uint64_t page, struct errtext *err);

/* From now on, or no longer: whoever lacks memory, or waits for it, gives up at once. For those who
 * have to wait for the threads inside, each for itself: for as long as one of them wants it. */
void placer_hurry(struct placer *p, bool hurry);

void placer_stats(const struct placer *p, struct placer_stats *stats);
