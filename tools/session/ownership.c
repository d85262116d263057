// SPDX-License-Identifier: Apache-2.0
// Who has the guest: asking the other host, and acting on this one's libvirt.
#include "ownership.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "clock.h"
#include "control.h"
#include "ownership_table.h"

#define POLL_US 50000
#define PAUSE_MOST_US 5000000
#define UNSTICK_MS 2000
#define UNSTICK_TRIES 4 /* in turn: suspended, let go */

static void pause_a_little(void)
{
	usleep(POLL_US);
}

/* ---- asking ---- */

int ownership_ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
		  enum wire_state *state, struct errtext *err)
{
	struct wire_message ask = {.type = question};
	_cleanup_message_ struct wire_message m = {0};
	_cleanup_line_ struct line line = LINE_NONE;
	int ret = door_dial(peer, WIRE_KIND_RECOVER, 0, &line, NULL, err);

	memcpy(ask.query.uuid, uuid, sizeof(ask.query.uuid));
	memcpy(ask.query.host_uuid, peer->who.uuid, sizeof(ask.query.host_uuid));
	memcpy(ask.query.session, peer->session, sizeof(ask.query.session));
	if (ret == 0)
		ret = control_write_one(line, peer->timeout_ms, &ask, err);
	if (ret == 0)
		ret = control_read_one(line, peer->timeout_ms, &m, err);
	if (ret == 0 && m.type != WIRE_STATE)
		ret = errtext_set(err, -EPROTO, "%s:%u answers %s, not STATE", peer->host,
				  peer->port, wire_type_name(m.type));
	if (ret == 0 && m.state.state == WIRE_STATE_UNKNOWN)
		ret = errtext_set(err, -ENODATA, "%s:%u does not know: %s", peer->host, peer->port,
				  m.state.text);
	if (ret == 0)
		*state = m.state.state;
	return ret;
}

/* Whoever asks for the host that the guest went to, and finds it started again. */
static int restarted(const struct ownership_inquiry *q, const struct errtext *why,
		     struct errtext *err)
{
	return errtext_set(
		err, -EOWNERDEAD,
		"%s, and so no guest that went there before runs there any more. "
		"Whether it had run there is not known. If nothing has written its disks "
		"since the hand-over, it may be resumed here (virsh resume); otherwise "
		"end it here (virsh destroy), and start it from its disks. Then run: dray recover "
		"%s",
		why->text, q->domain);
}

static int nobody_knows(const struct ownership_inquiry *q, const struct errtext *why,
			struct errtext *err)
{
	return errtext_set(err, -ENODATA,
			   "%s. See whether it runs there (virsh list): if so, or if it has run "
			   "there, end the one here (virsh destroy). If it never ran there, and "
			   "nothing has written its disks since, it may be resumed here (virsh "
			   "resume). Then run: dray recover %s",
			   why->text, q->domain);
}

/* One that does not know will hardly know a moment later. */
static uint64_t pause_after(const struct ownership_inquiry *q, int ret, const struct errtext *why,
			    uint64_t before, struct errtext *told)
{
	if (ret != -ENODATA)
		return POLL_US;
	if (q->unknown && strcmp(told->text, why->text) != 0)
		q->unknown(q->opaque, why->text);
	*told = *why;
	return 2 * before < PAUSE_MOST_US ? 2 * before : PAUSE_MOST_US;
}

int ownership_settle(const struct ownership_inquiry *q, enum wire_state *state, struct errtext *err)
{
	uint64_t begun = clock_monotonic_us(), end = begun + q->wait_ms * 1000ull, pause = POLL_US;
	struct errtext last = {0}, told = {0};
	bool answered = false;
	int ret;

	for (;;) {
		uint64_t now = clock_monotonic_us();
		enum wire_type question =
			answered && now - begun > q->wait_ms * 500ull ? WIRE_DISCARD : WIRE_QUERY;

		memset(&last, 0, sizeof(last));
		ret = q->ask(q->peer, question, q->uuid, state, &last);
		if (ret == -EOWNERDEAD)
			return restarted(q, &last, err);
		if (ret == 0 && *state != WIRE_STATE_INCOMING)
			return 0;
		answered = answered || ret == 0;
		pause = pause_after(q, ret, &last, pause, &told);
		if (now >= end)
			break;
		usleep((useconds_t)(pause < end - now ? pause : end - now));
	}
	if (ret == -ENODATA)
		return nobody_knows(q, &last, err);
	if (answered)
		return errtext_set(err, -EBUSY,
				   "the destination %s:%u neither starts the guest "
				   "nor gives it up",
				   q->peer->host, q->peer->port);
	return errtext_set(err, -EHOSTUNREACH, "%s", last.text);
}

/* ---- answering ---- */

int ownership_record(const struct wire_query *query, const struct door_host *self,
		     struct guest_dir *dir, struct record *r, struct errtext *err)
{
	char uuid[37], host[37], session[2 * WIRE_SESSION_SIZE + 1];
	int ret;

	uuid_unparse_lower(query->uuid, uuid);
	uuid_unparse_lower(query->host_uuid, host);
	record_session(query->session, session);
	guest_dir_paths(dir, uuid);
	if (memcmp(query->host_uuid, self->uuid, sizeof(self->uuid)) != 0)
		return errtext_set(err, -ENODATA, "the guest went to another host, with UUID %s",
				   host);
	ret = record_read(dir, RECORD_INCOMING, r, err);
	if (ret == 0)
		guest_dir_set_sockets(dir, r->sockets);
	if (ret == 0 && strcmp(r->session, session) == 0 && strcmp(r->host_uuid, host) == 0)
		return 0;
	if (ret == 0)
		record_destroy(r);
	if (ret < 0 && ret != -ENOENT)
		return ret;
	return errtext_set(err, -ENODATA, "there is no record of that migration%s",
			   ret == 0 ? ", but of a later one" : "");
}

static enum ownership_evidence evidence(const struct record *r)
{
	if (r->resumed)
		return EVIDENCE_RAN;
	if (r->never_ran || (r->defined_before && !r->released))
		return EVIDENCE_NEVER;
	return r->released ? EVIDENCE_RELEASED : EVIDENCE_PREPARED;
}

static bool is_leaving(const struct guest_dir *dir)
{
	struct record r;

	if (record_read(dir, RECORD_OUTGOING, &r, NULL) < 0)
		return false;
	record_destroy(&r);
	return true;
}

/* By its record, and a state that was seen before it is read. */
static int judge(const struct wire_query *query, const struct door_host *self,
		 enum domain_state state, enum wire_state *answer, struct errtext *err)
{
	struct guest_dir dir;
	struct record r;
	enum ownership_evidence found;
	int ret = ownership_record(query, self, &dir, &r, err);

	if (ret < 0)
		return ret;
	record_judge(&dir, &r, ownership_table_arrival(state) == ARRIVAL_NONE);
	found = evidence(&r);
	record_destroy(&r);
	if (ownership_table_answer(state, found, is_leaving(&dir), answer))
		return 0;
	return errtext_set(err, -ENODATA,
			   "nothing here tells whether the guest ran before it was %s",
			   ownership_table_text(state));
}

/* Is there such a record at all? */
static int check_query(const struct wire_query *query, const struct door_host *self,
		       struct errtext *err)
{
	struct guest_dir dir;
	struct record r;
	int ret = ownership_record(query, self, &dir, &r, err);

	if (ret == 0)
		record_destroy(&r);
	return ret;
}

/* The record is read after libvirt was asked: a guest that libvirt had no more, or not yet, and
 * that was not released until later, has not run. The other way round it could have been released,
 * have run, and have ended in between. */
int ownership_answer(struct host *host, const struct wire_query *query,
		     const struct door_host *self, enum wire_state *answer, struct errtext *err)
{
	struct domain_info info;
	char uuid[37];
	int ret = check_query(query, self, err);

	uuid_unparse_lower(query->uuid, uuid);
	if (ret == 0)
		ret = host_state(host, uuid, &info, err);
	return ret < 0 ? ret : judge(query, self, info.state, answer, err);
}

int ownership_answer_gone(const struct wire_query *query, const struct door_host *self,
			  enum wire_state *answer, struct errtext *err)
{
	return judge(query, self, DOMAIN_ABSENT, answer, err);
}

/* ---- acting ---- */

int ownership_wait_job(struct host *host, const char *uuid, uint32_t wait_ms,
		       struct domain_info *info, struct errtext *err)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;

	for (;;) {
		int ret = host_state(host, uuid, info, err);

		if (ret < 0 || !info->job)
			return ret;
		if (clock_monotonic_us() >= end)
			return errtext_set(err, -EBUSY,
					   "libvirt still has a job on domain %s: `virsh "
					   "domjobinfo %s`",
					   info->name, info->name);
		pause_a_little();
	}
}

/* Again and again, as the first try may come too early for libvirt. */
static int unstick(struct host *host, const char *uuid, uint32_t wait_ms, struct domain_info *info,
		   bool *suspended, struct errtext *err)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	uint32_t each_ms = wait_ms / UNSTICK_TRIES;
	int ret;

	*suspended = false;
	do {
		bool now = false;

		*err = (struct errtext){0};
		ret = host_unstick_job(host, uuid, &now, err);
		*suspended |= now;
		if (ret == 0)
			ret = ownership_wait_job(host, uuid, each_ms, info, err);
	} while (ret == -EBUSY && clock_monotonic_us() < end);
	return ret;
}

/* The guest must not be left suspended, whatever libvirt does. */
int ownership_unstick(struct host *host, const char *uuid, uint32_t wait_ms,
		      struct domain_info *info, struct errtext *err)
{
	struct errtext why = {0};
	bool suspended, again;
	int ret = unstick(host, uuid, wait_ms, info, &suspended, &why);

	if (ret < 0)
		errtext_set(err, ret, "%s", why.text);
	if (ret == -EBUSY && info->state == DOMAIN_PAUSED_MIGRATION)
		host_unstick_job(host, uuid, &again, NULL);
	if (ret == 0 && suspended && info->state == DOMAIN_PAUSED_USER) {
		ret = host_resume(host, uuid, err);
		if (ret == 0)
			ret = host_state(host, uuid, info, err);
	}
	return ret;
}

int ownership_wait_departure(struct host *host, const char *uuid, uint32_t wait_ms,
			     struct domain_info *info, struct errtext *err)
{
	struct errtext early = {0};
	uint32_t patience_ms = wait_ms < UNSTICK_MS ? wait_ms : UNSTICK_MS;
	int ret = ownership_wait_job(host, uuid, patience_ms, info, &early);

	if (ret == -EBUSY)
		return ownership_unstick(host, uuid, wait_ms - patience_ms, info, err);
	return ret < 0 ? errtext_set(err, ret, "%s", early.text) : 0;
}

int ownership_retire(struct host *host, const char *uuid, bool persistent, struct errtext *err)
{
	struct domain_info info;
	int ret = host_state(host, uuid, &info, err);

	if (ret < 0)
		return ret;
	switch (ownership_table_retirement(info.state)) {
	case RETIRE_NOTHING:
	case RETIRE_DEFINITION:
		break;
	case RETIRE_GUEST:
		ret = host_destroy(host, uuid, err);
		if (ret == 0)
			ret = host_state(host, uuid, &info, err);
		break;
	case RETIRE_TWICE:
		return errtext_set(err, -EEXIST,
				   "domain %s runs on both hosts; neither was touched. Decide "
				   "which one is right and destroy the other",
				   info.name);
	case RETIRE_FOREIGN:
		return errtext_set(err, -EBUSY,
				   "domain %s lives on the other host; the one here is %s, and was "
				   "not touched",
				   info.name, ownership_table_text(info.state));
	}
	if (ret == 0 && persistent && info.state != DOMAIN_ABSENT)
		ret = host_undefine(host, uuid, err);
	return ret;
}

int ownership_tidy_running(struct host *host, const struct domain_info *info,
			   const struct record *r, struct errtext *told)
{
	bool on = false;
	int ret = host_get_ignore_shared(host, info->uuid, &on, told);

	if (ret == 0 && on)
		ret = host_set_ignore_shared(host, info->uuid, false, told);
	return ret < 0 ? ret : ram_discard_set(host, info->uuid, r->discard, true, told);
}

int ownership_set_autostart(struct host *host, struct record *r, struct errtext *told)
{
	int ret = r->autostart ? host_set_autostart(host, r->uuid, told) : 0;

	if (ret == 0)
		r->autostart = false;
	return ret;
}
