// SPDX-License-Identifier: Apache-2.0
// What a session holds of its host: a turn in the queue, the guest's directory with its lock and
// record, and the guard.
//
// The session's thread only. Texts of errors go into the session's own.
#pragma once

#include "errtext.h"
#include "guest_dir.h"
#include "record.h"
#include "slot.h"

struct incoming;

struct incoming_place {
	struct slot *slot;
	struct guest_dir dir; /* its lock: not before incoming_place_open */
	/* As on disk, once it was written. It also holds what the session knows of its guest:
	 * whether it was released, and whether it has run here. */
	struct record record;
	uid_t uid; /* QEMU's user */
	gid_t gid;
	int guard; /* guard.h; -1: none */
};

void incoming_place_init(struct incoming *in);
/* Take the lock, which moves to PREPARED, and begin a record of this migration; what is left of an
 * earlier one goes, unless it is not settled: -EEXIST. Then start a guard. */
int incoming_place_open(struct incoming *in);
/* Take the lock again after another process, for a record that is there: it is read anew. No guard
 * yet. */
int incoming_place_reopen(struct incoming *in);
int incoming_place_start_guard(struct incoming *in);
/* The record, as it is now; err may be NULL. */
int incoming_place_write(struct incoming *in, struct errtext *err);
/* The record names the guest's QEMU from now on, so that it can be found without its help. */
int incoming_place_note_qemu(struct incoming *in, pid_t qemu);
/* All is tidy: no guard is needed any more. */
void incoming_place_guard_done(struct incoming *in);
/* Give everything back. A guard that was not told so begins now, and needs the lock. */
void incoming_place_close(struct incoming *in);
