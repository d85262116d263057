// SPDX-License-Identifier: Apache-2.0
// Post-copy at the destination: the guest runs here, and what it lacks is fetched.
//
// The userfaultfd stays open inside QEMU for as long as a page is missing, and the set of missing
// pages is a file: whatever becomes of this process, the guest waits for a page rather than read
// zeroes, and another dray can carry on (incoming_adopt.c).
#include "incoming_postcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "cleanup.h"
#include "incoming_private.h"
#include "missing.h"
#include "process.h"
#include "ram_room.h"

/* ---- begin ---- */

void incoming_postcopy_init(struct incoming *in)
{
	in->postcopy.uffd = in->postcopy.uffd_inside = -1;
}

static void on_complete(void *opaque)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_COMPLETE, 0, NULL);
}

static void on_lacking(void *opaque, const char *text)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_LACKING, 0, text);
}

int incoming_postcopy_new_handlers(struct incoming *in)
{
	struct placer_options placing = {.uffd = in->postcopy.uffd,
					 .ram = &in->ram,
					 .owed = in->postcopy.owed,
					 .tracked = in->place.record.prove,
					 .complete = on_complete,
					 .lacking = on_lacking,
					 .opaque = in};
	struct fault_handler_options handling = {
		.uffd = in->postcopy.uffd, .ram = &in->ram, .owed = in->postcopy.owed};
	int ret = placer_new(&placing, &in->postcopy.placer, &in->err);

	handling.placer = in->postcopy.placer;
	if (ret == 0)
		ret = fault_handler_new(&handling, &in->postcopy.faults, &in->err);
	return ret;
}

/* Threads of the guest that wait for a page are woken, and fault again, for the new handler. */
int incoming_postcopy_renew_handler(struct incoming *in, struct errtext *err)
{
	struct fault_handler_options handling = {.uffd = in->postcopy.uffd,
						 .ram = &in->ram,
						 .owed = in->postcopy.owed,
						 .placer = in->postcopy.placer};
	struct fault_handler_stats stats;
	struct fault_handler *fresh;
	int ret = fault_handler_new(&handling, &fresh, err);

	if (ret < 0)
		return ret;
	fault_handler_stats(in->postcopy.faults, &stats);
	fault_handler_latency(in->postcopy.faults, &in->postcopy.latency);
	in->postcopy.faults_before += stats.faults;
	fault_handler_destroy(in->postcopy.faults);
	in->postcopy.faults = fresh;
	return placer_begin(in->postcopy.placer, err);
}

/* Where one page of a huge folio is missing the kernel must not make the whole folio present. It
 * makes none of private memory that is registered. */
static void keep_folios_small(const struct ram_map *ram)
{
	for (unsigned int i = 0; i < ram->count; i++)
		if (ram->blocks[i].page_size == RAM_PAGE_SIZE &&
		    !ram_block_is_private(&ram->blocks[i]))
			madvise(ram->blocks[i].map, ram->blocks[i].size, MADV_NOHUGEPAGE);
}

/* The source pushes pages in units of its own page size, and a page is owed as a whole. */
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

static int drop(void *opaque, const struct iovec *ranges, unsigned int n, struct errtext *err)
{
	struct incoming *in = opaque;

	return in->world->drop_memory(in->postcopy.qemu, ranges, n, err);
}

/* What QEMU has to itself: a process that carries on finds it again by the record. */
static int prepare_private(struct incoming *in)
{
	const struct dropper_options options = {.drop = drop,
						.opaque = in,
						.uffd = in->postcopy.uffd,
						.tracked = in->place.record.prove};
	int ret;

	if (!ram_map_has_private(&in->ram))
		return 0;
	ram_keep_destroy(&in->place.record.ram);
	ret = ram_keep_describe(&in->ram, &in->place.record.ram, &in->err);
	return ret < 0 ? ret : dropper_new(&options, &in->postcopy.dropper, &in->err);
}

static int get_ready(struct incoming *in)
{
	int ret = check_page_sizes(in);

	/* Once the guest runs here a page that finds no room makes it wait. */
	if (ret == 0)
		ret = ram_room_check(&in->ram, &in->prepare.ram, &in->err);
	if (ret < 0)
		return ret;
	in->postcopy.qemu = qmp_peer_pid(in->monitor.qmp);
	ret = process_started(in->postcopy.qemu, &in->postcopy.qemu_started, &in->err);
	if (ret < 0)
		return ret;
	keep_folios_small(&in->ram);
	ret = in->world->borrow_userfaultfd(
		in->postcopy.qemu,
		in->place.record.prove ? MISSING_TRACKED_FEATURES : MISSING_FEATURES, true,
		&in->postcopy.uffd, &in->postcopy.uffd_inside, &in->err);
	if (ret == 0)
		ret = prepare_private(in);
	if (ret == 0)
		ret = owed_create(in->place.dir.owed, &in->ram, &in->postcopy.owed, &in->err);
	if (ret == 0)
		ret = missing_register(in->postcopy.uffd, &in->ram, in->place.record.prove,
				       &in->err);
	if (ret == 0)
		ret = incoming_postcopy_new_handlers(in);
	if (ret == 0)
		destination_expect_stale(in->joined.destination, in->postcopy.owed,
					 in->postcopy.dropper);
	return ret;
}

void incoming_postcopy_listen(struct incoming *in, bool prove)
{
	struct wire_message m = {.type = WIRE_LISTENING};

	in->place.record.prove = prove;
	if (get_ready(in) < 0) {
		m.listening.text = in->err.text;
		incoming_postcopy_release(in);
	}
	control_send(in->control, &m);
	if (m.listening.text)
		in->err = (struct errtext){0}; /* pre-copy goes on */
	else
		incoming_move(in, INCOMING_LISTENING);
}

int incoming_postcopy_begin(struct incoming *in)
{
	in->postcopy.released_us = in->world->now_us();
	owed_seal(in->postcopy.owed);
	destination_place(in->joined.destination, in->postcopy.placer);
	return placer_begin(in->postcopy.placer, &in->err);
}

/* ---- end ---- */

static void sum_up(struct incoming *in)
{
	struct fault_handler_stats faults;
	struct placer_stats pages;

	fault_handler_stats(in->postcopy.faults, &faults);
	fault_handler_latency(in->postcopy.faults, &in->postcopy.latency);
	placer_stats(in->postcopy.placer, &pages);
	in->postcopy.told = (struct wire_complete){
		.faults = in->postcopy.faults_before + faults.faults,
		.fault_p50_us = histogram_percentile(&in->postcopy.latency, 500),
		.fault_p99_us = histogram_percentile(&in->postcopy.latency, 990),
		.fault_max_us = histogram_max(&in->postcopy.latency),
		.pages_fault = pages.pages[PLACER_FAULT],
		.pages_push = pages.pages[PLACER_PUSH],
		.pages_prefetch = pages.pages[PLACER_PREFETCH],
		.holes = pages.holes,
		.duration_us = in->postcopy.completed_us - in->postcopy.released_us,
		.balloon_still =
			!in->monitor.missed_events && !atomic_load(&in->monitor.balloon_moved),
	};
}

int incoming_postcopy_end(struct incoming *in)
{
	int ret;

	incoming_joined_end(in);
	sum_up(in);
	ret = missing_unregister(in->postcopy.uffd, &in->ram, &in->err);
	if (ret == 0)
		ret = in->world->close_userfaultfd(in->postcopy.qemu, in->postcopy.uffd_inside,
						   &in->err);
	in->postcopy.uffd_inside = -1;
	/* Who saves a guest ends its QEMU as soon as it has read the last page: nothing is left
	 * inside. */
	if (ret == -ESRCH) {
		in->err = (struct errtext){0};
		ret = 0;
	}
	return ret;
}

void incoming_postcopy_release(struct incoming *in)
{
	fault_handler_destroy(in->postcopy.faults);
	in->postcopy.faults = NULL;
	placer_destroy(in->postcopy.placer);
	in->postcopy.placer = NULL;
	owed_close(in->postcopy.owed);
	in->postcopy.owed = NULL;
	dropper_destroy(in->postcopy.dropper);
	in->postcopy.dropper = NULL;
	/* Before the release QEMU is about to end, or goes on without post-copy: nothing may be
	 * registered then even if its copy cannot be closed, for nobody is left to fill a page. */
	if (in->postcopy.uffd_inside >= 0 && !in->place.record.released) {
		missing_unregister(in->postcopy.uffd, &in->ram, NULL);
		in->world->close_userfaultfd(in->postcopy.qemu, in->postcopy.uffd_inside, NULL);
	}
	in->postcopy.uffd_inside = -1;
	cleanup_close(&in->postcopy.uffd);
	in->postcopy.uffd = -1;
}
