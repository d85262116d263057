// SPDX-License-Identifier: Apache-2.0
// After a crash: what libvirt has here, and what is to become of it.
//
//   here                         there                   so
//   running                      (asked if released)     the migration failed; tidy up
//     "                          running                 somebody has resumed it: tell
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
// these: ownership_table.c.
#include <errno.h>
#include <uuid/uuid.h>
#include "connection.h"
#include "ownership_table.h"
#include "recover_private.h"

#define POLL_US 50000

/* ---- the source ---- */

static int resume_here(struct host *host, const struct record *r, const struct domain_info *info,
		       struct errtext *told)
{
	int ret = r->running ? host_resume(host, info->uuid, told) : 0;

	if (ret == 0)
		ret = ownership_tidy_running(host, info, r, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s never ran on %s: it runs here again",
				     info->name, r->host);
}

int recover_settle_ask(const struct recover_options *options, const struct record *r,
		       enum wire_state *state, struct errtext *told)
{
	struct peer peer;
	uuid_t uuid = {0};
	const struct ownership_inquiry inquiry = {.ask = options->world->ask,
						  .peer = &peer,
						  .uuid = uuid,
						  .domain = r->domain,
						  .wait_ms = options->wait_ms};
	int ret = recover_reach_peer(options, r, CONNECTION_ASK_MS, &peer, told);

	uuid_parse(r->uuid, uuid);
	if (ret == 0)
		ret = ownership_settle(&inquiry, state, told);
	recover_leave_peer(&peer);
	return ret;
}

/* Only the destination knows who has the guest that stands here paused. */
static int ask_and_act(const struct recover_options *options, struct host *host,
		       const struct record *r, const struct domain_info *info,
		       enum wire_state *state, struct errtext *told)
{
	int ret = recover_settle_ask(options, r, state, told);

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

/* Who has resumed it here? libvirt, whose migration failed: then it never ran there, and need not
 * be asked for long. Or somebody else, when nobody held it back any more. */
static enum wire_state look_there(const struct recover_options *options, const struct record *r)
{
	enum wire_state state = WIRE_STATE_UNKNOWN;
	struct errtext ignored = {0};
	struct peer peer;
	uuid_t uuid = {0};
	int ret = recover_reach_peer(options, r, CONNECTION_ASK_MS, &peer, &ignored);

	uuid_parse(r->uuid, uuid);
	if (ret == 0)
		ret = options->world->ask(&peer, WIRE_QUERY, uuid, &state, &ignored);
	recover_leave_peer(&peer);
	return ret < 0 ? WIRE_STATE_UNKNOWN : state;
}

static int tell_twice(const struct record *r, struct errtext *told)
{
	return errtext_set(
		told, -EEXIST,
		"domain %s was handed over to %s and lives there, and it runs here as "
		"well: somebody has resumed it. Both use its disks; neither was touched. "
		"Destroy one of them at once%s; then run `dray recover %s` again",
		r->domain, r->host,
		r->post_copy ? " (the one there will never get the memory that it still "
			       "lacks, for that has changed here since)"
			     : "",
		r->domain);
}

static int stay(const struct recover_options *options, struct host *host, const struct record *r,
		const struct domain_info *info, struct errtext *told)
{
	enum wire_state there = r->released ? look_there(options, r) : WIRE_STATE_ABSENT;
	int ret;

	if (there == WIRE_STATE_RUNNING)
		return tell_twice(r, told);
	ret = ownership_tidy_running(host, info, r, told);
	if (ret < 0)
		return ret;
	if (there == WIRE_STATE_ENDED)
		return errtext_set(told, 0,
				   "domain %s runs here; it was handed over to %s, and has ended "
				   "there: somebody has resumed it here",
				   r->domain, r->host);
	if (there == WIRE_STATE_UNKNOWN)
		return errtext_set(told, 0,
				   "domain %s runs here, as before the migration; if somebody has "
				   "resumed it by hand, see that it does not run on %s as well, "
				   "which does not tell",
				   r->domain, r->host);
	return errtext_set(told, 0, "domain %s runs here, as before the migration", r->domain);
}

/* What libvirt has here, as soon as that is more than a passing state. */
static int await_departure(const struct recover_options *options, struct host *host,
			   const struct record *r, struct domain_info *info,
			   enum ownership_departure *departure, struct errtext *told)
{
	uint64_t end = options->world->now_us() + options->wait_ms * 1000ull;

	for (;;) {
		int ret = ownership_wait_departure(host, r->uuid, options->wait_ms, info, told);

		if (ret < 0)
			return ret;
		*departure = ownership_table_departure(info->state, r->released);
		if (*departure != DEPARTURE_WAIT || options->world->now_us() >= end)
			return 0;
		options->world->pause(POLL_US);
	}
}

static int leave_alone(const struct record *r, const struct domain_info *info, struct errtext *told)
{
	return errtext_set(told, -EBUSY,
			   "domain %s is %s, in which dray has no part: nothing was changed. When "
			   "that is over, run `dray recover %s` again",
			   r->domain, ownership_table_text(info->state), r->domain);
}

int recover_settle_departure(const struct recover_options *options, struct host *host,
			     const struct record *r, bool *elsewhere, struct errtext *told)
{
	enum ownership_departure departure;
	enum wire_state state = WIRE_STATE_ABSENT;
	struct domain_info info;
	int ret = await_departure(options, host, r, &info, &departure, told);

	if (ret < 0)
		return ret;
	switch (departure) {
	case DEPARTURE_LEFT:
		state = WIRE_STATE_RUNNING; /* as far as this host knows */
		errtext_set(told, 0, "domain %s has left this host", r->domain);
		break;
	case DEPARTURE_STAYED:
		ret = stay(options, host, r, &info, told);
		break;
	case DEPARTURE_RESUME:
		ret = resume_here(host, r, &info, told);
		break;
	case DEPARTURE_ASK:
		ret = ask_and_act(options, host, r, &info, &state, told);
		break;
	case DEPARTURE_WAIT:
	case DEPARTURE_FOREIGN:
		ret = leave_alone(r, &info, told);
		break;
	}
	*elsewhere = state == WIRE_STATE_RUNNING;
	return ret;
}

/* ---- the destination ---- */

static int welcome(const struct recover_options *options, struct host *host,
		   const struct guest_dir *dir, struct record *r, const struct domain_info *info,
		   struct errtext *told)
{
	int ret = ownership_tidy_running(host, info, r, told);

	r->resumed = true;
	if (ret == 0)
		ret = ownership_set_autostart(host, r, told);
	if (ret == 0)
		ret = record_write(dir, RECORD_INCOMING, r, told);
	if (ret < 0)
		return ret;
	options->world->quiet_monitor(dir->monitor);
	return errtext_set(told, 0, "domain %s has arrived and lives here", r->domain);
}

/* Whether it ran is answered from QEMU's log, as long as it is there; the record keeps it. The
 * definition that libvirt has stored for a guest that never ran here goes with it, unless it was
 * here before. */
static int note_gone(struct host *host, const struct guest_dir *dir, struct record *r,
		     const struct domain_info *info, struct errtext *told)
{
	int ret;

	record_judge(dir, r, true);
	r->settled = true;
	ret = record_write(dir, RECORD_INCOMING, r, told);
	if (ret == 0 && info->state == DOMAIN_SHUT_OFF && !r->defined_before && !r->resumed &&
	    (r->never_ran || !r->released))
		ret = host_undefine(host, r->uuid, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s is not here%s", r->domain,
				     r->resumed			    ? ": it came, and has ended"
				     : r->never_ran || !r->released ? ", and never ran here"
								    : "");
}

static int await_arrival(const struct recover_options *options, struct host *host,
			 const struct record *r, uint64_t for_us, struct domain_info *info,
			 struct errtext *told)
{
	uint64_t end = options->world->now_us() + for_us;
	int ret;

	while ((ret = ownership_wait_job(host, r->uuid, (uint32_t)(for_us / 1000), info, told)) ==
		       0 &&
	       ownership_table_arrival(info->state) == ARRIVAL_PENDING &&
	       options->world->now_us() < end)
		options->world->pause(POLL_US);
	return ret;
}

/* Never released: the source has it, and libvirt here, whose client has gone, has not ended its
 * half. Only the QEMU that has our monitor, and only if it has not run. */
static void end_unreleased(const struct recover_options *options, const struct guest_dir *dir,
			   const struct record *r)
{
	pid_t qemu = r->qemu;
	uint64_t started = r->qemu_started;

	if (!r->released && !r->resumed &&
	    (qemu > 0 || options->world->find_qemu(dir->monitor, &qemu, &started) == 0) &&
	    options->world->is_qemu(qemu, r->uuid))
		options->world->end_unless_resumed(qemu, started, dir->monitor, false, NULL);
}

int recover_settle_arrival(const struct recover_options *options, struct host *host,
			   const struct guest_dir *dir, struct record *r, struct errtext *told)
{
	uint64_t all_us = options->wait_ms * 1000ull;
	struct domain_info info;
	int ret = await_arrival(options, host, r, r->released ? all_us : all_us / 4, &info, told);

	if (!r->released && (ret == 0 || ret == -EBUSY) &&
	    ownership_table_arrival(info.state) == ARRIVAL_PENDING) {
		*told = (struct errtext){0};
		end_unreleased(options, dir, r);
		ret = await_arrival(options, host, r, all_us / 4, &info, told);
	}
	if (ret < 0)
		return ret;
	switch (ownership_table_arrival(info.state)) {
	case ARRIVAL_NONE:
		return note_gone(host, dir, r, &info, told);
	case ARRIVAL_LIVES:
		return welcome(options, host, dir, r, &info, told);
	case ARRIVAL_PENDING:
		break;
	}
	return errtext_set(told, -EBUSY,
			   "domain %s is %s: libvirt here neither lets it run nor ends it. `dray "
			   "recover %s` on the host that it comes from decides, if `dray receive` "
			   "runs here",
			   r->domain, ownership_table_text(info.state), r->domain);
}
