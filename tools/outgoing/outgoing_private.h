// SPDX-License-Identifier: Apache-2.0
// What the outgoing_*.c files share: the state of one migration on the source, in parts. A file
// declares, makes, feeds with mail and gives back the part that is its own; of others' it reads.
//
// Everything belongs to the one driving thread. Other threads (control reader, gate, libvirt's job,
// event loop, round workers, signal catcher) only post to the mailbox.
#pragma once

#include "outgoing.h"
#include "outgoing_await.h"
#include "outgoing_disks.h"
#include "outgoing_guest.h"
#include "outgoing_libvirt.h"
#include "outgoing_peer.h"
#include "outgoing_place.h"
#include "outgoing_postcopy.h"
#include "outgoing_precopy.h"
#include "outgoing_qemu.h"
#include "outgoing_queue.h"
#include "outgoing_round.h"
#include "outgoing_status.h"
#include "outgoing_stop.h"
#include "outgoing_stop_parts.h"
#include "outgoing_strain.h"
#include "outgoing_verify.h"
#include "outgoing_world.h"

struct outgoing {
	const struct outgoing_options *opt;
	const struct outgoing_world *world;
	struct report *report;
	struct steering *steering;

	enum phase phase;
	struct errtext err; /* why it failed; the first reason */
	int failed;	    /* negative errno of the first failure, or 0 */
	bool cancelled;	    /* ... which was a request, or a time-out */

	/* Parts, each of the file that declares it. */
	struct outgoing_inbox mail;
	struct outgoing_status status;
	struct outgoing_guest guest;
	struct outgoing_disks disks;
	struct outgoing_place place;
	struct outgoing_turn turn;
	struct outgoing_peer peer;
	struct outgoing_libvirt libvirt;
	struct outgoing_rounds rounds;
	struct outgoing_precopy precopy;
	struct outgoing_stop stop;
	struct outgoing_stop_parts parts;
	struct outgoing_strain strain;
	struct outgoing_postcopy postcopy;
	struct outgoing_qemu qemu;
	struct outgoing_proof proof;
};
