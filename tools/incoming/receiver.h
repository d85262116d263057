// SPDX-License-Identifier: Apache-2.0
// What all sessions of one process share, and the sessions themselves, by number.
//
// Made once, and never freed: connection threads may use it until the process ends.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "door.h"
#include "wire.h"

struct incoming;
struct incoming_world;

/* What is common to all sessions; strings are borrowed for the receiver's life. */
struct receiver_options {
	/* Sessions connect to it by themselves, so that a restart of the daemon ends only those
	 * under way. */
	const char *libvirt_socket;
	const char *const *allow_paths; /* of struct definition_policy, as `agreed` */
	unsigned int agreed;
	bool contained;		  /* the same */
	unsigned int max_inbound; /* guests that may come to this host at once, whichever
				   * receivers serve them */
	uint16_t port;		  /* that we listen on, and where; for whoever has to carry on */
	const char *bind;
	const char *tls_dir;		    /* "": without TLS; the same */
	struct door_host self;		    /* this host */
	const struct incoming_world *world; /* NULL: the real one */
	/* A guest that runs here waits for memory, which may never come. By a session's thread; may
	 * be NULL. */
	void (*waiting)(void *opaque, const char *domain, const char *text);
	void *opaque;
};

struct receiver {
	/* constant after init */
	struct receiver_options opt;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct incoming *sessions; /* list */
	/* Answers to questions that wait for libvirt, and when the latest began to, or ended:
	 * incoming_query.c. */
	unsigned int waiting_for_libvirt;
	uint64_t libvirt_heard_us;
};

int receiver_new(const struct receiver_options *options, struct receiver **out);
/* A session's own thread: from now on, or no longer, it can be found. -EEXIST: there is one of that
 * number. */
int receiver_add(struct incoming *in);
void receiver_remove(struct incoming *in);
/* Is this session under way here? Any thread. */
bool receiver_knows(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE]);
/* May this session, if it is under way here, still let its guest run? Not any more once it ends
 * without having done so. Any thread. */
bool receiver_may_release(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE]);
/* The secret of a session under way, if it has this id. Any thread. */
bool receiver_find_secret(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			  const uint8_t id[8], struct tls_secret *out);
/* The subject that a session under way was begun with; false: there is none. Any thread. */
bool receiver_find_subject(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			   char subject[TLS_SUBJECT_SIZE]);
/* Is the session, under way here or recorded, another source's than the one with this subject? Any
 * thread. */
bool receiver_is_of_other(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			  const char *peer);
/* A guest came to another libvirt on this host, as that of another launcher, for which nobody can
 * answer any more when that was removed with the guest's QEMU: we do, in its place (self, at the
 * door). Not as long as the QEMU lives. Any thread. */
void receiver_stand_in(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
		       struct door_host *self);
/* The session, for one of its other connections; NULL: there is none, or it ends. It stays until
 * receiver_leave. Any thread. */
struct incoming *receiver_enter(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE]);
void receiver_leave(struct incoming *in);
