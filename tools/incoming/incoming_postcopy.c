// SPDX-License-Identifier: Apache-2.0
// Post-copy, as the destination serves it: the guest runs here, what it lacks is fetched.
//
// The userfaultfd stays open inside QEMU for as long as a page is missing, and the set of missing
// pages is a file: whatever becomes of this process, the guest waits for a page rather than read
// zeroes, and another dray can carry on (incoming_adopt.c).
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "cleanup.h"
#include "missing.h"
#include "process.h"

/* ---- begin ---- */

static void on_complete(void *opaque)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_COMPLETE, 0, NULL);
}

int incoming_postcopy_new_handlers(struct incoming *in)
{
	struct placer_options placing = {.uffd = in->uffd,
					 .ram = &in->ram,
					 .owed = in->owed,
					 .tracked = in->record.prove,
					 .complete = on_complete,
					 .opaque = in};
	struct fault_handler_options handling = {
		.uffd = in->uffd, .ram = &in->ram, .owed = in->owed};
	int ret = placer_new(&placing, &in->placer, &in->err);

	handling.placer = in->placer;
	if (ret == 0)
		ret = fault_handler_new(&handling, &in->faults, &in->err);
	return ret;
}

/* Whoever waits for a page faults again. */
int incoming_postcopy_renew_handler(struct incoming *in, struct errtext *err)
{
	struct fault_handler_options handling = {
		.uffd = in->uffd, .ram = &in->ram, .owed = in->owed, .placer = in->placer};
	struct fault_handler_stats stats;
	struct fault_handler *fresh;
	int ret = fault_handler_new(&handling, &fresh, err);

	if (ret < 0)
		return ret;
	fault_handler_stats(in->faults, &stats);
	fault_handler_latency(in->faults, &in->latency);
	in->faults_before += stats.faults;
	fault_handler_destroy(in->faults);
	in->faults = fresh;
	return placer_begin(in->placer, err);
}

/* A huge folio over a hole would be there as a whole; not where one page of it is missing. */
static void keep_folios_small(const struct ram_map *ram)
{
	for (unsigned int i = 0; i < ram->count; i++)
		if (ram->blocks[i].page_size == RAM_PAGE_SIZE)
			madvise(ram->blocks[i].map, ram->blocks[i].size, MADV_NOHUGEPAGE);
}

/* The source pushes in units of its own. */
static int check_page_sizes(struct incoming *in)
{
	for (unsigned int i = 0; i < in->ram.count; i++)
		if (in->ram.blocks[i].page_size != in->prepare.ram.blocks[i].page_size)
			return errtext_set(
				&in->err, -ENOTSUP,
				"post-copy is not possible: RAM block %s has pages of %u "
				"KiB on the destination and %u KiB on the source",
				in->ram.blocks[i].name, in->ram.blocks[i].page_size >> 10,
				in->prepare.ram.blocks[i].page_size >> 10);
	return 0;
}

static int get_ready(struct incoming *in)
{
	int ret = check_page_sizes(in);

	if (ret < 0)
		return ret;
	in->qemu = qmp_peer_pid(in->monitor);
	ret = process_started(in->qemu, &in->qemu_started, &in->err);
	if (ret < 0)
		return ret;
	keep_folios_small(&in->ram);
	ret = in->world->borrow_userfaultfd(
		in->qemu, in->record.prove ? MISSING_TRACKED_FEATURES : MISSING_FEATURES, true,
		&in->uffd, &in->uffd_inside, &in->err);
	if (ret == 0)
		ret = owed_create(in->dir.owed, &in->ram, &in->owed, &in->err);
	if (ret == 0)
		ret = missing_register(in->uffd, &in->ram, in->record.prove, &in->err);
	if (ret == 0)
		ret = incoming_postcopy_new_handlers(in);
	if (ret == 0)
		destination_expect_stale(in->destination, in->owed);
	return ret;
}

void incoming_postcopy_listen(struct incoming *in, bool prove)
{
	struct wire_message m = {.type = WIRE_LISTENING};

	in->record.prove = prove;
	if (get_ready(in) < 0) {
		m.listening.text = in->err.text;
		incoming_postcopy_release(in);
	}
	control_send(in->control, &m);
	if (m.listening.text)
		in->err = (struct errtext){0}; /* pre-copy goes on */
}

int incoming_postcopy_begin(struct incoming *in)
{
	in->released_us = in->world->now_us();
	owed_seal(in->owed);
	destination_place(in->destination, in->placer);
	return placer_begin(in->placer, &in->err);
}

/* ---- end ---- */

static void sum_up(struct incoming *in)
{
	struct fault_handler_stats faults;
	struct placer_stats pages;

	fault_handler_stats(in->faults, &faults);
	fault_handler_latency(in->faults, &in->latency);
	placer_stats(in->placer, &pages);
	in->told = (struct wire_complete){
		.faults = in->faults_before + faults.faults,
		.fault_p50_us = histogram_percentile(&in->latency, 500),
		.fault_p99_us = histogram_percentile(&in->latency, 990),
		.fault_max_us = histogram_max(&in->latency),
		.pages_fault = pages.pages[PLACER_FAULT],
		.pages_push = pages.pages[PLACER_PUSH],
		.pages_prefetch = pages.pages[PLACER_PREFETCH],
		.holes = pages.holes,
		.duration_us = in->completed_us - in->released_us,
	};
}

int incoming_postcopy_end(struct incoming *in)
{
	int ret;

	incoming_stream_end(in);
	sum_up(in);
	ret = missing_unregister(in->uffd, &in->ram, &in->err);
	if (ret == 0)
		ret = in->world->close_userfaultfd(in->qemu, in->uffd_inside, &in->err);
	in->uffd_inside = -1;
	return ret;
}

void incoming_postcopy_release(struct incoming *in)
{
	fault_handler_destroy(in->faults);
	in->faults = NULL;
	placer_destroy(in->placer);
	in->placer = NULL;
	owed_close(in->owed);
	in->owed = NULL;
	/* Before the release QEMU is about to end, or goes on without. */
	if (in->uffd_inside >= 0 && !in->released)
		in->world->close_userfaultfd(in->qemu, in->uffd_inside, NULL);
	in->uffd_inside = -1;
	cleanup_close(&in->uffd);
	in->uffd = -1;
}
