// SPDX-License-Identifier: Apache-2.0
// Post-copy at the destination: the guest runs here, and what it lacks is fetched.
//
// The session's thread, except where it says otherwise.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "dropper.h"
#include "errtext.h"
#include "fault_handler.h"
#include "histogram.h"
#include "owed.h"
#include "placer.h"
#include "wire.h"

struct incoming;

/* NULL and -1 before LISTEN. From then on threads of other connections read it too, until
 * incoming_joined_end has ended them. */
struct incoming_postcopy {
	pid_t qemu;
	uint64_t qemu_started;	 /* process.h */
	int uffd;		 /* -1: none */
	int uffd_inside;	 /* its number inside QEMU; -1: none there */
	struct owed *owed;	 /* NULL: this is no post-copy */
	struct dropper *dropper; /* before the release; NULL: no memory is private */
	struct placer *placer;
	struct fault_handler *faults; /* replaced under the receiver's lock */
	bool complete;		      /* nothing is owed any more */

	uint64_t released_us, completed_us; /* CLOCK_MONOTONIC */
	uint64_t quiet_until_us;	    /* the same: nothing is said of missing room before */
	struct histogram latency;	    /* of fault handlers that have gone */
	uint64_t faults_before;		    /* which these had taken */
	struct wire_complete told;	    /* once it has ended */
};

void incoming_postcopy_init(struct incoming *in);
/* LISTEN: the rest may come after the release. Answers it: that it can be done, which
 * moves to LISTENING, or why not. */
void incoming_postcopy_listen(struct incoming *in, bool prove);
/* With a userfaultfd and a set of owed pages: those who serve faults. */
int incoming_postcopy_new_handlers(struct incoming *in);
/* For a new page link: a fault handler that was stopped stays so. Under the receiver's lock. */
int incoming_postcopy_renew_handler(struct incoming *in, struct errtext *err);
/* The guest may run from now on. */
int incoming_postcopy_begin(struct incoming *in);
/* Every page is here: end all streams, leave nothing inside QEMU, which may have ended. */
int incoming_postcopy_end(struct incoming *in);
/* Let go of everything. What is inside QEMU is taken out before the release, and stays after it. */
void incoming_postcopy_release(struct incoming *in);
