// SPDX-License-Identifier: Apache-2.0
// What the recover_*.c files share.
//
// All of it runs in the one thread that called recover_run, and holds the guest's lock.
#pragma once

#include <stdbool.h>
#include "door.h"
#include "host.h"
#include "recover.h"
#include "recover_world.h"
#include "record.h"

/* recover.c */
/* Is the record of the migration that is to be settled, or of any if none was named? */
bool recover_is_minded(const struct recover_options *options, const struct record *r);

/* recover_find.c */
/* The UUID of the guest that is meant, by name or UUID. host may be NULL. -ENOTUNIQ: it may be any
 * of several, which err lists. */
int recover_find(const struct recover_options *options, struct host *host, char uuid[37],
		 struct errtext *err);

/* recover_reach.c */
/* Is libvirt here the one that the record's guest is of? -ENOTCONN: another one, which would say
 * that there is no such guest; that is none of its end. */
int recover_check_daemon(const struct recover_options *options, const struct record *r,
			 struct errtext *err);
/* This host's libvirt: the caller's, to host_close. The same, if there is a record (or NULL). */
int recover_reach_host(const struct recover_options *options, const struct record *r,
		       struct host **out, struct errtext *err);
/* The destination that an outgoing record names, reached as the migration was. timeout_ms: for
 * connecting and for an answer. recover_leave_peer follows, in any case. */
int recover_reach_peer(const struct recover_options *options, const struct record *r,
		       int timeout_ms, struct peer *peer, struct errtext *err);
void recover_leave_peer(struct peer *peer);

/* recover_settle.c: the same return as recover_run's. */
/* The source: who has the guest of this record, by libvirt here and, if need be, by the
 * destination; then resume or remove the one here. *elsewhere: it lives there, as far as can be
 * known; valid if it is settled. */
int recover_settle_departure(const struct recover_options *options, struct host *host,
			     const struct record *r, bool *elsewhere, struct errtext *told);
/* The destination: the guest came here, or did not; libvirt has settled that when its job is
 * over. */
int recover_settle_arrival(const struct recover_options *options, struct host *host,
			   const struct guest_dir *dir, struct record *r, struct errtext *told);

/* ... that part of it which needs no libvirt: only the destination knows who has the guest. */
int recover_settle_ask(const struct recover_options *options, const struct record *r,
		       enum wire_state *state, struct errtext *told);

/* recover_qemu.c: the memory that was handed over in post-copy is in QEMU here. */
bool recover_qemu_has_ram(const struct record *r);
bool recover_qemu_has_ended(const struct recover_options *options, const struct record *r);
/* Stop it as a process, and the reverse; nothing happens if there is none. */
void recover_qemu_freeze(const struct recover_options *options, const struct record *r);
void recover_qemu_thaw(const struct recover_options *options, const struct record *r);
/* Nobody needs it any more: kill it, and wait for its end. */
void recover_qemu_end(const struct recover_options *options, const struct record *r);
/* After that: have libvirt forget the guest. As recover_run. */
int recover_qemu_retire(const struct recover_options *options, const struct record *r,
			struct errtext *told);
/* Nobody knows who has the guest: what an operator has to know of QEMU besides. Returns `why`. */
int recover_qemu_explain(const struct record *r, int why, struct errtext *told);

/* recover_serve.c: the source in post-copy. The guest was handed over, and memory that it lacks may
 * be here: hold that, serve it, and settle what libvirt has here. The same return. */
int recover_serve(const struct recover_options *options, const struct guest_dir *dir,
		  const struct record *r, struct errtext *told);

/* recover_fetch.c: the destination in post-copy. The guest was handed over to here, and memory is
 * still to come. host may be NULL. Gives the lock back. -EINPROGRESS: somebody else is at it, or
 * nobody can be. */
int recover_fetch(const struct recover_options *options, struct host *host, struct guest_dir *dir,
		  struct record *r, struct errtext *told);
