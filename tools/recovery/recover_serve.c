// SPDX-License-Identifier: Apache-2.0
// After a crash in post-copy, on the source: carry on.
//
// The source may be the last to hold the guest's memory. So it is held before anything else is
// done, and served while libvirt's side is settled: a daemon that does not answer must not keep the
// guest waiting. To offer pages to a destination that has no such guest does no harm.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include "connection.h"
#include "ownership_table.h"
#include "pacer.h"
#include "recover_private.h"

#define AGAIN_US 5000000

struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool over, ended;
	char text[WIRE_TEXT_MAX + 1];
};

static void on_link(void *opaque, enum page_link_state state, const char *text)
{
	struct waiting *w = opaque;

	if (state != PAGE_LINK_COMPLETE && state != PAGE_LINK_ENDED)
		return;
	pthread_mutex_lock(&w->lock);
	w->over = true;
	w->ended = state == PAGE_LINK_ENDED;
	snprintf(w->text, sizeof(w->text), "%s", text);
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* ---- memory ---- */

/* The guest's QEMU may still stand here, paused. */
static int find_ram(const struct recover_options *options, const struct record *r,
		    struct ram_map *ram, struct errtext *err)
{
	struct domain_info info;
	struct host *host = NULL;
	pid_t pid;
	int ret = recover_reach_host(options, r, &host, err);

	if (ret == 0)
		ret = ownership_wait_job(host, r->uuid, options->wait_ms, &info, err);
	if (ret == 0)
		ret = host_qemu_pid(host, r->uuid, &pid, err);
	if (ret == 0)
		ret = options->world->find_ram(pid, false, ram, err);
	host_close(host);
	return ret;
}

/* With QEMU its private memory has gone. The guest there may wait for it, and whoever is with it
 * has to hear why it does not come: that is a guard's affair. */
static int hold_what_was(const struct recover_options *options, const struct record *r,
			 struct ram_map *ram, struct errtext *why)
{
	if (options->session && recover_qemu_has_ended(options, r))
		return options->world->reopen_ended(&r->ram, ram, why);
	return errtext_set(why, -ENODATA, "its QEMU here has ended");
}

/* Our own copies if we are the guard, those of a guard that still lives, or those of QEMU, if it
 * still stands here. */
static int hold_ram(const struct recover_options *options, const struct record *r,
		    struct ram_map *ram, struct errtext *told)
{
	struct errtext why = {0};
	int ret = -ENOENT;

	if (r->ram.count)
		ret = options->world->reopen_ram(getpid(), &r->ram, ram, NULL);
	if (ret < 0 && r->ram.count && r->keeper > 0)
		ret = options->world->reopen_ram(r->keeper, &r->ram, ram, NULL);
	if (ret < 0 && r->ram.count && r->qemu > 0)
		ret = options->world->reopen_found(r->qemu, r->qemu_started, &r->ram, ram, NULL);
	if (ret < 0 && recover_qemu_has_ram(r))
		ret = hold_what_was(options, r, ram, &why);
	else if (ret < 0)
		ret = find_ram(options, r, ram, &why);
	if (ret == 0) {
		ram_keep_recall(&r->ram, ram);
		return 0;
	}
	return errtext_set(told, -ENODATA,
			   "domain %s was handed over to %s before all of its memory, and no "
			   "process here is known to hold that (%s); nothing was changed. If it "
			   "does not run on %s, only its disks are left",
			   r->domain, r->host, why.text, r->host);
}

static bool has_left(const struct recover_options *options, const struct record *r)
{
	struct domain_info info;
	struct host *host = NULL;
	int ret = recover_reach_host(options, r, &host, NULL);

	if (ret == 0)
		ret = host_state(host, r->uuid, &info, NULL);
	host_close(host);
	return ret == 0 ? ownership_table_departure(info.state, true) == DEPARTURE_LEFT
			: record_is_gone(r);
}

/* Neither the memory nor the guest is here: that no other migration of it could come or go until
 * this one is settled would help nobody. */
static int give_up(const struct record *r, struct errtext *told)
{
	*told = (struct errtext){0};
	return errtext_set(told, -EBADMSG,
			   "domain %s was handed over to %s before all of its memory, and nothing "
			   "of that is left here. If it does not run on %s, only its disks are "
			   "left; what was recorded of that migration here was removed",
			   r->domain, r->host, r->host);
}

/* ---- libvirt ---- */

static int settle_here(const struct recover_options *options, const struct record *r,
		       void *elsewhere, struct errtext *told)
{
	struct host *host = NULL;
	int ret = recover_reach_host(options, r, &host, told);

	if (ret < 0 && record_is_gone(r)) {
		*(bool *)elsewhere = true;
		return errtext_set(told, 0, "domain %s has left this host", r->domain);
	}
	if (ret == 0)
		ret = recover_settle_departure(options, host, r, elsewhere, told);
	host_close(host);
	return ret;
}

/* Nobody will ever know, or it runs on both hosts, or the destination does not and an operator
 * waits for an end. */
static bool is_hopeless(const struct recover_options *options, int ret)
{
	return ret == -EOWNERDEAD || ret == -EEXIST || (ret == -ENODATA && !options->session);
}

/* However long it takes, if there is hope. Each new reason why not is told once. */
static int at_last(const struct recover_options *options, const struct record *r,
		   int (*attempt)(const struct recover_options *options, const struct record *r,
				  void *out, struct errtext *told),
		   void *out, struct errtext *told)
{
	struct errtext last = {0};

	for (;;) {
		*told = (struct errtext){0};
		int ret;

		ret = attempt(options, r, out, told);
		if (ret == 0 || is_hopeless(options, ret))
			return ret;
		if (strcmp(told->text, last.text) != 0)
			syslog(LOG_WARNING, "domain %s, in post-copy to %s: %s", r->domain, r->host,
			       told->text);
		last = *told;
		options->world->pause(AGAIN_US);
	}
}

/* ---- */

static void await_end(struct waiting *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->over)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

static int ask(const struct recover_options *options, const struct record *r, void *state,
	       struct errtext *told)
{
	return recover_settle_ask(options, r, state, told);
}

static int retire(const struct recover_options *options, const struct record *r, void *none,
		  struct errtext *told)
{
	(void)none;
	return recover_qemu_retire(options, r, told);
}

/* The memory is in QEMU here, which must stand until it has gone. */
static int settle_qemu(const struct recover_options *options, const struct record *r,
		       struct waiting *w, bool *elsewhere, struct errtext *told)
{
	enum wire_state state = WIRE_STATE_UNKNOWN;
	int ret = at_last(options, r, ask, &state, told);

	if (ret < 0)
		return recover_qemu_explain(r, ret, told);
	if (state == WIRE_STATE_ABSENT) {
		recover_qemu_thaw(options, r);
		return at_last(options, r, settle_here, elsewhere, told);
	}
	*elsewhere = state == WIRE_STATE_RUNNING;
	if (*elsewhere)
		await_end(w);
	recover_qemu_end(options, r);
	ret = at_last(options, r, retire, NULL, told);
	if (ret < 0 || *elsewhere)
		return ret;
	return errtext_set(told, 0,
			   "domain %s ran, and has ended, on %s: the paused one here was removed",
			   r->domain, r->host);
}

/* Until both libvirt here and the destination have no more use for us. */
static int see_it_through(const struct recover_options *options, const struct record *r,
			  struct page_link *link, struct waiting *w, struct errtext *told)
{
	bool elsewhere;
	int ret = recover_qemu_has_ram(r) ? settle_qemu(options, r, w, &elsewhere, told)
					  : at_last(options, r, settle_here, &elsewhere, told);

	if (ret < 0 || !elsewhere)
		return ret;
	await_end(w);
	*told = (struct errtext){0};
	if (w->ended)
		return errtext_set(told, -ECONNABORTED, "domain %s: post-copy to %s: %s", r->domain,
				   r->host, w->text);
	if (options->world->judge_link(link, r->domain, r->host, told) < 0)
		return -EBADMSG;
	return errtext_set(told, 0, "domain %s lives on %s, and all of its memory has arrived",
			   r->domain, r->host);
}

static unsigned int pushes(const struct record *r)
{
	if (r->streams == 0)
		return 1;
	return r->streams < PAGE_LINK_STREAMS_MAX ? r->streams : PAGE_LINK_STREAMS_MAX;
}

/* ram is held. */
static int serve(const struct recover_options *options, const struct record *r,
		 const struct ram_map *ram, struct errtext *told)
{
	struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct peer peer;
	struct page_link_options link_options = {.peer = &peer,
						 .ram = ram,
						 .faults = PAGE_LINK_FAULTS,
						 .pushes = pushes(r),
						 .silence_ms = r->silence_ms,
						 .no_prefetch = r->no_prefetch,
						 .gives_back = r->gives_back,
						 .balloon = r->balloon,
						 .changed = on_link,
						 .opaque = &w};
	struct page_link *link = NULL;
	int ret = recover_reach_peer(options, r, CONNECTION_DIAL_MS, &peer, told);

	if (ret == 0)
		ret = pacer_new(r->bandwidth, &link_options.pacer);
	if (ret == 0)
		ret = options->world->resume_link(&link_options, &link, told);
	if (ret == 0)
		ret = see_it_through(options, r, link, &w, told);
	options->world->destroy_link(link);
	pacer_destroy(link_options.pacer);
	recover_leave_peer(&peer);
	return ret;
}

/* libvirt lets it run here: then it does not run there (ownership_table.c). A guard has not let it
 * come to that. */
static bool runs_here(const struct recover_options *options, const struct record *r)
{
	struct domain_info info;
	struct host *host = NULL;
	int ret = options->session ? -EBUSY : recover_reach_host(options, r, &host, NULL);

	if (ret == 0)
		ret = host_state(host, r->uuid, &info, NULL);
	host_close(host);
	return ret == 0 && ownership_table_departure(info.state, true) == DEPARTURE_STAYED;
}

int recover_serve(const struct recover_options *options, const struct guest_dir *dir,
		  const struct record *r, struct errtext *told)
{
	bool stayed = recover_qemu_has_ram(r) && runs_here(options, r);
	struct ram_map ram = {0};
	int ret;

	if (!stayed && !options->session) /* a guard has seen to that */
		recover_qemu_freeze(options, r);
	ret = stayed ? 0 : hold_ram(options, r, &ram, told);
	if (stayed)
		ret = at_last(options, r, settle_here, &stayed, told);
	else if (ret == 0)
		ret = serve(options, r, &ram, told);
	else if (!options->session && has_left(options, r)) /* a guard tries on */
		ret = give_up(r, told);
	ram_map_destroy(&ram);
	if (ret == 0 || ret == -EBADMSG) { /* nothing is left to be done here */
		record_forget_monitor(dir);
		record_remove(dir, RECORD_OUTGOING);
	}
	return ret;
}
