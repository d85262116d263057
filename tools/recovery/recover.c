// SPDX-License-Identifier: Apache-2.0
// After a crash: find out where a guest is, and finish or undo.
//
// The guest's record says which side this host was on, and how far the migration had come:
//
//   source        before the hand-over, or after it       recover_settle.c
//                 after it, in post-copy                  recover_serve.c
//   destination   all memory is here, or none will be     recover_settle.c
//                 in post-copy, memory is to come         recover_fetch.c
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "recover_private.h"

#define POLL_US 50000

/* The guard of a dray that was killed may be at it. */
static int take_lock(const struct recover_options *options, struct guest_dir *dir, const char *uuid,
		     struct errtext *told)
{
	uint64_t end = options->world->now_us() + options->wait_ms * 1000ull;
	int ret;

	for (;;) {
		*told = (struct errtext){0};
		ret = guest_dir_open(dir, uuid, -1, -1, told);
		if (ret != -EBUSY || options->world->now_us() >= end)
			return ret;
		options->world->pause(POLL_US);
	}
}

/* Whoever has it in hand may be at it for as long as the destination does not answer, and is the
 * last to hold the guest's memory: an operator has to know what ends that. */
static int explain_busy(const struct guest_dir *dir, struct errtext *told)
{
	struct record r = {0};
	bool serves = record_read(dir, RECORD_OUTGOING, &r, NULL) == 0 && r.released && r.post_copy;

	if (serves) {
		*told = (struct errtext){0};
		errtext_set(
			told, -EBUSY,
			"domain %s was handed over to %s in post-copy, and dray here serves the "
			"memory that it may still lack. That ends by itself once `dray "
			"receive` on %s has all of it, or answers that the guest has ended: "
			"see that one runs there. If that host will never come back, the "
			"guest is lost: end dray migrate, if it still runs, and its guard, "
			"process %d%s; then run `dray recover %s` again",
			r.domain, r.host, r.host, r.keeper,
			recover_qemu_has_ram(&r) ? ", and the guest here (virsh destroy)" : "",
			r.domain);
	}
	record_destroy(&r);
	return -EBUSY;
}

static int settle_outgoing(const struct recover_options *options, struct host *host,
			   const struct guest_dir *dir, const struct record *r,
			   struct errtext *told)
{
	bool elsewhere;
	int ret = recover_settle_departure(options, host, r, &elsewhere, told);

	if (ret < 0)
		return ret;
	if (elsewhere)
		record_forget_monitor(dir);
	record_remove(dir, RECORD_OUTGOING);
	return 0;
}

bool recover_is_minded(const struct recover_options *options, const struct record *r)
{
	return !options->session || strcmp(r->session, options->session) == 0;
}

/* -ENOENT also if the record is of another migration than the one that is minded. */
static int read_record(const struct recover_options *options, struct guest_dir *dir,
		       enum record_kind kind, struct record *r, struct errtext *err)
{
	int ret = record_read(dir, kind, r, err);

	if (ret == 0)
		guest_dir_set_sockets(dir, r->sockets);
	if (ret < 0 || recover_is_minded(options, r))
		return ret;
	record_destroy(r);
	*r = (struct record){0};
	return -ENOENT;
}

/* The guest and its libvirt have ended together. */
static int settle_gone(const struct guest_dir *dir, struct record *r, bool outgoing,
		       struct errtext *told)
{
	int ret = 0;

	if (outgoing) {
		record_remove(dir, RECORD_OUTGOING);
	} else {
		record_judge(dir, r, true);
		r->settled = true;
		ret = record_write(dir, RECORD_INCOMING, r, told);
	}
	return ret < 0 ? ret
		       : errtext_set(told, 0,
				     "domain %s is not here: its QEMU has ended, and its libvirt "
				     "with it",
				     r->domain);
}

/* In post-copy the guest's memory comes before libvirt's word. */
static int settle_record(const struct recover_options *options, struct host *host,
			 struct guest_dir *dir, struct record *r, bool outgoing,
			 struct errtext *told)
{
	if (outgoing && r->released && r->post_copy)
		return recover_serve(options, dir, r, told);
	if (!outgoing && r->post_copy && !r->complete)
		return recover_fetch(options, host, dir, r, told);
	if (!host)
		return record_is_gone(r) ? settle_gone(dir, r, outgoing, told) : -EAGAIN;
	return outgoing ? settle_outgoing(options, host, dir, r, told)
			: recover_settle_arrival(options, host, dir, r, told);
}

/* Now that it is known whose guest it is: what any other daemon says does not count. */
static void keep_its_host(const struct recover_options *options, const struct record *r,
			  struct host **host, int *opened, struct errtext *silent)
{
	if (!*host)
		return;
	*opened = recover_check_daemon(options, r, silent);
	if (*opened == 0)
		return;
	host_close(*host);
	*host = NULL;
}

static int settle(const struct recover_options *options, struct host **host, int *opened,
		  struct guest_dir *dir, struct errtext *silent, struct errtext *told)
{
	struct record r = {0};
	int ret = read_record(options, dir, RECORD_OUTGOING, &r, told);
	bool outgoing = ret == 0;

	if (ret == -ENOENT)
		ret = read_record(options, dir, RECORD_INCOMING, &r, told);
	if (ret == -ENOENT)
		return errtext_set(told, 0, "domain %s: no migration was broken off here",
				   options->domain);
	if (outgoing)
		unlink(dir->stream); /* on which the dray that was killed had listened */
	if (ret == 0) {
		keep_its_host(options, &r, host, opened, silent);
		ret = settle_record(options, *host, dir, &r, outgoing, told);
	}
	record_destroy(&r);
	return ret;
}

int recover_run(const struct recover_options *options, struct errtext *told)
{
	char uuid[37];
	struct host *host = NULL;
	struct guest_dir dir = {.lock = -1};
	struct errtext silent = {0}, unknown = {0};
	/* Without libvirt a guest in post-copy still gets its pages; and where libvirt waits for
	 * the QEMU that has them, it is not asked before. */
	int opened =
		options->stand_in ? -ENOTCONN : recover_reach_host(options, NULL, &host, &silent);
	int ret = recover_find(options, host, uuid, &unknown);

	if (ret < 0 && (opened == 0 || ret == -ENOTUNIQ))
		errtext_set(told, ret, "%s", unknown.text);
	else if (ret < 0)
		ret = errtext_set(told, opened, "%s", silent.text);
	if (ret == 0)
		ret = take_lock(options, &dir, uuid, told);
	if (ret == -EBUSY)
		ret = explain_busy(&dir, told);
	if (ret == 0)
		ret = settle(options, &host, &opened, &dir, &silent, told);
	if (ret == -EAGAIN && opened < 0 && !told->text[0])
		ret = errtext_set(told, -ENOTCONN, "%s", silent.text);
	guest_dir_close(&dir);
	host_close(host);
	return ret;
}
