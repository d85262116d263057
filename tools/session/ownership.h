// SPDX-License-Identifier: Apache-2.0
// Who has the guest: asking the other host, and acting on this one's libvirt.
//
// All of it blocks, and may be called from any thread that alone uses the host.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "door.h"
#include "errtext.h"
#include "guest_dir.h"
#include "host.h"
#include "record.h"
#include "wire.h"

/* Ask the destination what it knows of a guest (QUERY), or to give up an incoming one (DISCARD):
 * the host that peer->who names, about the migration peer->session. -ENODATA: it answers that it
 * does not know; -EXDEV, -EOWNERDEAD: as door_dial. */
typedef int ownership_ask_fn(const struct peer *peer, enum wire_type question,
			     const uint8_t uuid[16], enum wire_state *state, struct errtext *err);
/* Over the network. */
ownership_ask_fn ownership_ask;

/* What is asked, and of whom. All of it is borrowed. */
struct ownership_inquiry {
	ownership_ask_fn *ask;
	const struct peer *peer;
	const uint8_t *uuid; /* 16 bytes */
	const char *domain;  /* its name, for texts */
	uint32_t wait_ms;
	/* The destination answers that it does not know, and is asked again. Once for each text;
	 * may be NULL. */
	void (*unknown)(void *opaque, const char *text);
	void *opaque;
};

/* Ask until the answer is final (anything but INCOMING), for at most wait_ms; an incoming guest
 * that nobody finishes for half of that is given up. -EHOSTUNREACH if nobody answered who can;
 * -ENODATA: the destination has answered, last, that it does not know, asked with growing pauses;
 * -EOWNERDEAD, at once: nobody ever will, as the destination was started again. Both say what an
 * operator may do. */
int ownership_settle(const struct ownership_inquiry *q, enum wire_state *state,
		     struct errtext *err);
/* What this host, which is `self`, answers to a QUERY, by its libvirt and its records
 * (ownership_table.h). -ENODATA: nobody here can tell, and the text says why. */
int ownership_answer(struct host *host, const struct wire_query *query,
		     const struct door_host *self, enum wire_state *answer, struct errtext *err);
/* The same of a guest whose QEMU is known to have ended here, without libvirt. */
int ownership_answer_gone(const struct wire_query *query, const struct door_host *self,
			  enum wire_state *answer, struct errtext *err);
/* The record that a question is about: -ENODATA with a text if this is not the host that was asked
 * for, or it has no record of that migration. On success record_destroy follows. */
int ownership_record(const struct wire_query *query, const struct door_host *self,
		     struct guest_dir *dir, struct record *r, struct errtext *err);
/* The guest runs elsewhere: remove the paused one, and its definition if `persistent`. -EEXIST: it
 * runs here, too; -EBUSY: the one here is no leftover. Neither was touched then. */
int ownership_retire(struct host *host, const char *uuid, bool persistent, struct errtext *err);
/* Wait, at most wait_ms, until libvirt has no job on the domain; then its state. */
int ownership_wait_job(struct host *host, const char *uuid, uint32_t wait_ms,
		       struct domain_info *info, struct errtext *err);
/* libvirt does not end the job of a migration out of here that was called off, by whomever: help it
 * to its end, if that is why (host_unstick_job), and wait for it at most wait_ms. */
int ownership_unstick(struct host *host, const char *uuid, uint32_t wait_ms,
		      struct domain_info *info, struct errtext *err);
/* ownership_wait_job, and ownership_unstick if the job does not end soon. */
int ownership_wait_departure(struct host *host, const char *uuid, uint32_t wait_ms,
			     struct domain_info *info, struct errtext *err);
/* It runs here: leave no capability behind that would make a later migration by somebody else
 * skip the guest's memory, and switch on again what the record holds as borrowed. */
int ownership_tidy_running(struct host *host, const struct domain_info *info,
			   const struct record *r, struct errtext *told);
/* An incoming guest that lives here: autostart, if it had that on its source, and has not got it
 * here. *r is to be written afterwards. */
int ownership_set_autostart(struct host *host, struct record *r, struct errtext *told);
