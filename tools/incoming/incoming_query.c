// SPDX-License-Identifier: Apache-2.0
// Recover connections: what is known here of a guest, and giving up one that is on its way.
//
// Only of a migration of which this host has a record. A guest is given up only for as long as it
// has not run, which is made sure of with its QEMU standing still: libvirt's Finish may come at any
// moment (monitor_log.h, by way of the world). The record itself is the session's, or recovery's,
// to write.
//
// libvirt's word counts first: somebody may have started the guest here by hand. Where libvirt does
// not answer, or hangs, the record alone is enough for a guest that was never released, once nobody
// is left who could release it: no session in this process, and nobody, who would hold the guest's
// lock, in another. What QEMU lacked of its stream has gone with that session.
#include "incoming_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "connection.h"
#include "ownership.h"

/* Longer than a daemon takes that does answer, shorter than CONNECTION_ASK_MS. */
#define LIBVIRT_HANGS_US 2000000

/* Who is asked, and as which host: as that which the record names, at the door. */
struct asked {
	struct receiver *receiver;
	const struct door_host *self;
};

/* If its session is under way: Finish, which may be on its way, does not come through. */
static void cut_tunnels(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in = receiver_enter(r, session);

	if (!in)
		return;
	incoming_joined_cut_tunnels(in);
	receiver_leave(in);
}

/* Whatever comes of it: what is answered is what is seen then. */
static void discard(const struct asked *a, const struct wire_query *query)
{
	struct guest_dir dir;
	struct record record;

	if (ownership_record(query, a->self, &dir, &record, NULL) < 0)
		return;
	if (!record.resumed && !record.never_ran && record.qemu > 0) {
		cut_tunnels(a->receiver, query->session);
		a->receiver->opt.world->end_unless_resumed(record.qemu, record.qemu_started,
							   dir.monitor, record.released, NULL);
	}
	record_destroy(&record);
}

/* ---- libvirt ---- */

/* One question hangs in it already. */
static bool libvirt_hangs(struct receiver *r)
{
	bool hangs;

	pthread_mutex_lock(&r->lock);
	hangs = r->waiting_for_libvirt &&
		r->opt.world->now_us() - r->libvirt_heard_us > LIBVIRT_HANGS_US;
	pthread_mutex_unlock(&r->lock);
	return hangs;
}

static void note_waiting(struct receiver *r, bool begins)
{
	pthread_mutex_lock(&r->lock);
	if (!begins || r->waiting_for_libvirt == 0)
		r->libvirt_heard_us = r->opt.world->now_us();
	r->waiting_for_libvirt += begins ? 1 : -1;
	pthread_mutex_unlock(&r->lock);
}

/* -ENODATA: STATE says why there is no answer. */
static int answer(const struct asked *a, struct host *host, const struct wire_message *question,
		  struct wire_message *m, struct errtext *err)
{
	enum wire_state state;
	int ret = ownership_answer(host, &question->query, a->self, &state, err);

	if (ret == 0 && state == WIRE_STATE_INCOMING && question->type == WIRE_DISCARD) {
		discard(a, &question->query);
		ret = ownership_answer(host, &question->query, a->self, &state, err);
	}
	m->state.state = ret == 0 ? state : WIRE_STATE_UNKNOWN;
	m->state.text = ret == 0 ? "" : err->text;
	return ret == -ENODATA ? 0 : ret;
}

/* Another libvirt, as another launcher's on this host, knows nothing of the guest. */
static bool is_of_our_daemon(const struct asked *a, const struct wire_query *query)
{
	struct guest_dir dir;
	struct record record;
	bool is;

	if (ownership_record(query, a->self, &dir, &record, NULL) < 0)
		return true; /* which is what will be answered */
	is = record_is_of_daemon(&record, a->receiver->opt.libvirt_socket);
	record_destroy(&record);
	return is;
}

static int answer_by_libvirt(const struct asked *a, const struct wire_message *question,
			     struct wire_message *m, struct errtext *err)
{
	struct host *host = NULL;
	int ret;

	if (!is_of_our_daemon(a, &question->query))
		return errtext_set(err, -EXDEV,
				   "the guest is of another libvirt than dray receive was given: "
				   "start it with the --launcher or --libvirt-socket that the "
				   "migration had");
	if (libvirt_hangs(a->receiver))
		return -ETIMEDOUT;
	note_waiting(a->receiver, true);
	ret = a->receiver->opt.world->open_host(a->receiver->opt.libvirt_socket, &host, err);
	if (ret == 0)
		ret = answer(a, host, question, m, err);
	note_waiting(a->receiver, false);
	host_close(host);
	return ret;
}

/* ---- the record ---- */

static bool says_never_released(const struct asked *a, const struct wire_query *query,
				char uuid[37])
{
	struct guest_dir dir;
	struct record record;
	bool says;

	if (ownership_record(query, a->self, &dir, &record, NULL) < 0)
		return false;
	says = !record.released && !record.resumed;
	snprintf(uuid, 37, "%s", record.uuid);
	record_destroy(&record);
	return says;
}

/* Nobody can release it: so what the record says then is final. */
static bool is_over(const struct asked *a, const struct wire_query *query, const char *uuid)
{
	return !receiver_may_release(a->receiver, query->session) &&
	       (receiver_knows(a->receiver, query->session) ||
		incoming_world_try_dir(a->receiver->opt.world, uuid, NULL) == 0);
}

static int answer_by_record(const struct asked *a, const struct wire_message *question,
			    struct wire_message *m)
{
	char uuid[37];

	if (!says_never_released(a, &question->query, uuid) ||
	    !is_over(a, &question->query, uuid) || !says_never_released(a, &question->query, uuid))
		return -ENODATA;
	if (question->type == WIRE_DISCARD)
		discard(a, &question->query);
	m->state.state = WIRE_STATE_ABSENT;
	m->state.text = "";
	return 0;
}

/* Its QEMU has ended, and libvirt, its launcher's, with it; or it is another one than ours. */
static bool is_gone(const struct asked *a, const struct wire_query *query)
{
	struct guest_dir dir;
	struct record record;
	bool is;

	if (ownership_record(query, a->self, &dir, &record, NULL) < 0)
		return false;
	is = record_qemu_has_ended(&record) &&
	     (record_is_gone(&record) ||
	      !record_is_of_daemon(&record, a->receiver->opt.libvirt_socket));
	record_destroy(&record);
	return is;
}

/* Why libvirt has not answered: -EXDEV if it is not for it to do. */
static int answer_without_libvirt(const struct asked *a, const struct wire_message *question,
				  int why, struct wire_message *m, struct errtext *err)
{
	struct errtext nothing = {0};
	enum wire_state state = WIRE_STATE_UNKNOWN;

	if (answer_by_record(a, question, m) == 0)
		return 0;
	if (is_gone(a, &question->query)) {
		if (ownership_answer_gone(&question->query, a->self, &state, &nothing) < 0)
			*err = nothing;
	} else if (why != -EXDEV) {
		return -ENODATA;
	}
	m->state.state = state;
	m->state.text = state == WIRE_STATE_UNKNOWN ? err->text : "";
	return 0;
}

static int answer_question(const struct asked *a, const struct wire_message *question,
			   struct wire_message *m, struct errtext *err)
{
	int ret = answer_by_libvirt(a, question, m, err);

	return ret == 0 ? 0 : answer_without_libvirt(a, question, ret, m, err);
}

/* It is whoever began the migration that may ask what became of it, or give it up. */
static bool may_ask(const struct asked *a, const struct wire_query *query, const char *peer)
{
	struct guest_dir dir;
	struct record record;
	bool may;

	if (ownership_record(query, a->self, &dir, &record, NULL) < 0)
		return true; /* which is what it will hear */
	may = strcmp(record.peer, peer) == 0;
	record_destroy(&record);
	return may;
}

static int refuse(struct wire_message *m)
{
	m->state.state = WIRE_STATE_UNKNOWN;
	m->state.text = "this migration was begun by another host, with another certificate";
	return 0;
}

void incoming_query(struct receiver *r, struct line line, const struct door_terms *terms)
{
	_cleanup_line_ struct line own = line;
	_cleanup_message_ struct wire_message m = {0};
	struct wire_message state = {.type = WIRE_STATE};
	struct errtext err = {0};
	const struct asked a = {.receiver = r, .self = &terms->host};

	if (control_read_one(line, CONNECTION_FIRST_MS, &m, &err) < 0 ||
	    (m.type != WIRE_QUERY && m.type != WIRE_DISCARD))
		return;
	if (!may_ask(&a, &m.query, terms->peer) ? refuse(&state) == 0
						: answer_question(&a, &m, &state, &err) == 0)
		control_write_one(line, CONNECTION_FIRST_MS, &state, NULL);
}
