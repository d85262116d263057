// SPDX-License-Identifier: Apache-2.0
// After a crash: find out where a guest is, and finish or undo.
//
//   here                         there                   so
//   running                      (not asked)             the migration failed; tidy up
//   paused by a migration        running                 it arrived: remove the one here
//     "                          ran, has ended          the same
//     "                          incoming                wait; give it up there; then as absent
//     "                          absent                  it never ran there: resume it here
//     "                          no answer               only the destination knows: leave all
//   paused by its user           as above                as above
//   absent or shut off           (not asked)             it arrived; tidy up
//   in another's migration       (not asked)             leave all
//
// A guest that was never released is resumed without asking. Which state of libvirt is which of
// these: ownership_table.c. Post-copy: recover_postcopy.c.
#include "recover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "clock.h"
#include "ownership.h"
#include "ownership_table.h"
#include "recover_private.h"

#define POLL_US 50000

static int resume_here(struct host *host, const struct record *r, const struct domain_info *info,
		       struct errtext *told)
{
	int ret = r->running ? host_resume(host, info->uuid, told) : 0;

	if (ret == 0)
		ret = ownership_tidy_running(host, info, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s never ran on %s: it runs here again",
				     info->name, r->host);
}

/* Only the destination knows who has the guest that stands here paused. */
static int ask_and_act(struct host *host, const struct record *r, const struct domain_info *info,
		       uint32_t wait_ms, enum wire_state *state, struct errtext *told)
{
	struct peer peer = {.port = r->port, .timeout_ms = 3000};
	int ret;

	snprintf(peer.host, sizeof(peer.host), "%s", r->host);
	snprintf(peer.socket.bind, sizeof(peer.socket.bind), "%s", r->bind);
	ret = ownership_settle(ownership_ask, &peer, info->uuid_bytes, wait_ms, state, told);
	if (ret < 0)
		return ret;
	if (*state == WIRE_STATE_ABSENT)
		return resume_here(host, r, info, told);
	ret = ownership_retire(host, info->uuid, r->persistent, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s %s on %s: the paused one here was removed",
				     info->name,
				     *state == WIRE_STATE_RUNNING ? "runs" : "ran, and has ended,",
				     r->host);
}

/* ---- settling ---- */

/* What libvirt has here, as soon as that is more than a passing state. */
static int await_departure(struct host *host, const struct record *r, uint32_t wait_ms,
			   struct domain_info *info, enum ownership_departure *departure,
			   struct errtext *told)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;

	for (;;) {
		int ret = ownership_wait_job(host, r->uuid, wait_ms, info, told);

		if (ret < 0)
			return ret;
		*departure = ownership_table_departure(info->state, r->released);
		if (*departure != DEPARTURE_WAIT || clock_monotonic_us() >= end)
			return 0;
		usleep(POLL_US);
	}
}

static int leave_alone(const struct record *r, const struct domain_info *info, struct errtext *told)
{
	return errtext_set(told, -EBUSY,
			   "domain %s is %s, in which dray has no part: nothing was changed. When "
			   "that is over, run `dray recover %s` again",
			   r->domain, ownership_table_text(info->state), r->domain);
}

int recover_settle_departure(struct host *host, const struct record *r, uint32_t wait_ms,
			     bool *elsewhere, struct errtext *told)
{
	enum ownership_departure departure;
	enum wire_state state = WIRE_STATE_ABSENT;
	struct domain_info info;
	int ret = await_departure(host, r, wait_ms, &info, &departure, told);

	if (ret < 0)
		return ret;
	switch (departure) {
	case DEPARTURE_LEFT:
		state = WIRE_STATE_RUNNING; /* as far as this host knows */
		errtext_set(told, 0, "domain %s has left this host", r->domain);
		break;
	case DEPARTURE_STAYED:
		ret = ownership_tidy_running(host, &info, told);
		if (ret == 0)
			errtext_set(told, 0, "domain %s runs here, as before the migration",
				    r->domain);
		break;
	case DEPARTURE_RESUME:
		ret = resume_here(host, r, &info, told);
		break;
	case DEPARTURE_ASK:
		ret = ask_and_act(host, r, &info, wait_ms, &state, told);
		break;
	case DEPARTURE_WAIT:
	case DEPARTURE_FOREIGN:
		ret = leave_alone(r, &info, told);
		break;
	}
	*elsewhere = state == WIRE_STATE_RUNNING;
	return ret;
}

static int settle_outgoing(struct host *host, struct guest_dir *dir, const struct record *r,
			   uint32_t wait_ms, struct errtext *told)
{
	bool elsewhere;
	int ret = recover_settle_departure(host, r, wait_ms, &elsewhere, told);

	if (ret == 0)
		record_remove(dir, RECORD_OUTGOING);
	return ret;
}

static int welcome(struct host *host, struct guest_dir *dir, struct record *r,
		   const struct domain_info *info, struct errtext *told)
{
	int ret = ownership_tidy_running(host, info, told);

	r->resumed = true;
	if (ret == 0)
		ret = record_write(dir, RECORD_INCOMING, r, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s has arrived and lives here", r->domain);
}

/* The guest came here, or did not; libvirt has settled that when the job is over. */
static int settle_incoming(struct host *host, struct guest_dir *dir, struct record *r,
			   uint32_t wait_ms, struct errtext *told)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	struct domain_info info;
	int ret;

	while ((ret = ownership_wait_job(host, r->uuid, wait_ms, &info, told)) == 0 &&
	       ownership_table_arrival(info.state) == ARRIVAL_PENDING && clock_monotonic_us() < end)
		usleep(POLL_US);
	if (ret < 0)
		return ret;
	switch (ownership_table_arrival(info.state)) {
	case ARRIVAL_NONE:
		return errtext_set(told, 0, "domain %s is not here", r->domain);
	case ARRIVAL_LIVES:
		return welcome(host, dir, r, &info, told);
	case ARRIVAL_PENDING:
		break;
	}
	return errtext_set(told, -EBUSY,
			   "domain %s is %s: libvirt here neither lets it run nor ends it. `dray "
			   "recover %s` on the host that it comes from decides, if `dray receive` "
			   "runs here",
			   r->domain, ownership_table_text(info.state), r->domain);
}

static bool is_of_domain(const struct record *r, const void *name)
{
	return strcmp(r->domain, name) == 0;
}

/* A guest that has left is still known by its UUID, and by what was written down of it. */
static int find_uuid(struct host *host, const char *domain, char uuid[37], struct errtext *err)
{
	struct guest_dir dir;
	struct domain_info info;
	struct record r;
	uuid_t bytes;
	int ret = host ? host_find(host, domain, &info, err) : -ENOENT;

	if (ret == 0) {
		snprintf(uuid, 37, "%s", info.uuid);
		return 0;
	}
	if (uuid_parse(domain, bytes) == 0) {
		uuid_unparse_lower(bytes, uuid);
		return 0;
	}
	if (record_find(RECORD_OUTGOING, is_of_domain, domain, &dir, &r, NULL) < 0 &&
	    record_find(RECORD_INCOMING, is_of_domain, domain, &dir, &r, NULL) < 0)
		return ret;
	snprintf(uuid, 37, "%s", r.uuid);
	record_destroy(&r);
	return 0;
}

/* The guard of a dray that was killed may be at it. */
static int take_lock(struct guest_dir *dir, const char *uuid, uint32_t wait_ms,
		     struct errtext *told)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	int ret;

	for (;;) {
		*told = (struct errtext){0};
		ret = guest_dir_open(dir, uuid, -1, -1, told);
		if (ret != -EBUSY || clock_monotonic_us() >= end)
			return ret;
		usleep(POLL_US);
	}
}

static int settle(const struct recover_options *options, struct host *host, struct guest_dir *dir,
		  struct errtext *told)
{
	struct record r = {0};
	int ret, found = record_read(dir, RECORD_OUTGOING, &r, told);
	bool outgoing = found == 0;

	if (found == -ENOENT)
		found = record_read(dir, RECORD_INCOMING, &r, told);
	if (found == -ENOENT)
		ret = errtext_set(told, 0, "domain %s: no migration was broken off here",
				  options->domain);
	else if (found < 0)
		ret = found;
	else if (outgoing && r.released && r.post_copy)
		ret = recover_serve_pages(options, dir, &r, told);
	else if (!outgoing && r.post_copy && !r.complete)
		ret = recover_await_pages(options, host, dir, &r, told);
	else if (!host)
		ret = -EAGAIN;
	else
		ret = outgoing ? settle_outgoing(host, dir, &r, options->wait_ms, told)
			       : settle_incoming(host, dir, &r, options->wait_ms, told);
	record_destroy(&r);
	return ret;
}

int recover_run(const struct recover_options *options, struct errtext *told)
{
	char uuid[37];
	struct host *host = NULL;
	struct guest_dir dir = {.lock = -1};
	struct errtext silent = {0}, unknown = {0};
	/* Without libvirt a guest in post-copy still gets its pages. */
	int opened = recover_open_host(options, &host, &silent);
	int ret = find_uuid(host, options->domain, uuid, &unknown);

	if (ret < 0 && opened == 0)
		errtext_set(told, ret, "%s", unknown.text);
	else if (ret < 0)
		ret = errtext_set(told, opened, "%s", silent.text);
	if (ret == 0)
		ret = take_lock(&dir, uuid, options->wait_ms, told);
	if (ret == 0)
		ret = settle(options, host, &dir, told);
	if (ret == -EAGAIN && opened < 0 && !told->text[0])
		ret = errtext_set(told, opened, "%s", silent.text);
	guest_dir_close(&dir);
	host_close(host);
	return ret;
}
