// SPDX-License-Identifier: Apache-2.0
// A world for the source (outgoing_world.h): two hosts, a guest and the network as a few variables
// and a list of what will happen when. It knows what is true, so a test asks it, not the source,
// where the guest runs.
//
// Time is the world's own. It stands still while the source works, and goes on to the next event
// when the source waits, so nothing takes any time and every run is the same.
//
//   world_setup();
//   world.fail_at = 7;                                 the seventh call that can fail fails
//   world.trouble_at = 9; world.trouble = lose_control;  at the ninth wait it happens
//   world_at(5000, world_job_fails, 0);                in 5 ms of the world's time
//   world_run(&options)                                the exit status; then world.result, and:
//   world_did("RELEASE")                               was that done? See world.trace
//   world_teardown();                                  all was given back: that is checked
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fake_host.h"
#include "outgoing.h"
#include "outgoing_private.h"
#include "outgoing_world.h"

#define WORLD_UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define WORLD_EVENTS 64
#define WORLD_LOOKS 4
#define WORLD_RAM (4u << 20)
#define WORLD_STREAMS 2u
#define WORLD_EPOCH_US 1000000000ull	     /* CLOCK_REALTIME of the world's beginning */
#define WORLD_NOBODY WIRE_STATE_END_	     /* as an answer: there is none */
#define WORLD_IGNORANT (WIRE_STATE_END_ + 1) /* ... the destination does not know */

struct world_event {
	uint64_t at_us;
	unsigned int order;
	void (*fire)(uint64_t arg);
	uint64_t arg;
};

static struct world {
	/* What the test wants. */
	unsigned int fail_at;
	int fail_code;
	unsigned int trouble_at;
	bool (*trouble)(void);			/* true: it came */
	void (*on_call)(const char *what);	/* before each call that can fail */
	void (*on_release)(void);		/* instead of what happens after RELEASE */
	enum wire_state answer;			/* to a QUERY; 0: the truth */
	uint64_t pages[SOURCE_ROUND_CHECK + 1]; /* that a round finds, from the second on */
	uint64_t late;				/* that a look finds after the hand-over */
	int late_ret;
	uint64_t round_us;	   /* how long it takes */
	bool deaf_libvirt;	   /* does not resume the guest by itself when its job fails */
	bool hung_library;	   /* ... and its library never comes back */
	bool differ;		   /* the destination has another digest */
	uint32_t mute;		   /* 1 << type: messages that never come */
	uint32_t mute_last;	   /* ... once the last pass has begun */
	bool nonsense;		   /* in ARRIVAL */
	bool never_stops;	   /* QEMU does not stop the guest */
	unsigned int locked;	   /* so many looks at the guest's directory find it locked */
	bool domjobabort;	   /* was called before Perform is */
	bool never_completes;	   /* ... and is not told that all has arrived */
	unsigned int plugged_in;   /* disks read past the page cache, while the migration began */
	unsigned int direct_disks; /* the same, from the beginning */
	bool adds_monitor;	   /* QEMU takes a monitor while it runs */
	bool private_monitor;	   /* it has one by its XML */
	struct disk_flight_view disks[WORLD_LOOKS]; /* what a look tells; the last one again */
	unsigned int disks_told;
	int look_result, drain_result;
	uint64_t suspects;	 /* left by a round */
	pid_t mapper;		 /* somebody who has mapped its memory since */
	const char *refusal;	 /* of post-copy */
	uint64_t features;	 /* that the destination knows, too */
	const char *not_shared;	 /* why no memory can be shared there; NULL: it can */
	const char *stream_path; /* that the destination names; NULL: the right one */
	char debts[64];		 /* discard-data in the record of a migration before */
	enum page_link_state link_end;
	int judgement;

	/* What is true. */
	uint64_t now_us;
	struct fake_libvirt *libvirt;
	struct fake_domain *web;
	bool lives_there, given_up_there, released, lost;
	enum wire_abort abort_why;
	bool gate_open, forbidden, forbids_all, permitted, confirming;
	bool arrived; /* the gate holds a Confirm that says so */
	bool frozen;  /* QEMU, as a process */
	bool link_over;
	bool private;	/* QEMU here has the memory to itself */
	bool replugged; /* its memory is another file each time */
	int ram_fd;
	bool strained, garbled; /* QEMU sends the memory; and what nobody knows */
	bool job_runs, tunnel_cut, stopping, round_runs, paused_by_user, qemu_ended, hastened;
	struct world_event events[WORLD_EVENTS];
	unsigned int event_count, events_ever;
	bool recorded;
	struct record record; /* as last written */

	/* What was done. */
	unsigned int calls, waits; /* that can fail; for mail */
	char failed[32];	   /* which one did; empty: none */
	enum phase failed_in, trouble_in;
	bool trouble_came;
	const char *monitor;		     /* "private", "added"; NULL: none was opened */
	unsigned int looks, drains, watched; /* the first look of a round */
	bool hurried;			     /* live rounds end early */
	enum source_round_kind kind;	     /* of the round under way */
	bool suspect;			     /* the round under way is */
	char trace[4096];
	int alive; /* things made and not yet given back */
	struct outgoing *o;
	struct control_options control;
	struct gate_options gate;
	struct forward_options tunnel, qemu_stream;
	struct libvirt_job_options job;
	char job_xml[1024]; /* for the destination */
	struct source_options source;
	struct source_stats stats;
	struct page_link_options link;
	bool gives_back; /* as the link was told */
	int guard[2];
	bool guard_dismissed, guard_begins; /* as soon as the attempt has ended */

	/* How it came out. */
	struct steering *steering;
	struct report report;
	struct report_result result;
	bool may_pass;
	char dir[40];
	FILE *out;
	char *said; /* events */
	size_t said_size;
} world;

/* ---- what a test asks and says ---- */

static inline bool world_did(const char *what)
{
	return strstr(world.trace, what) != NULL;
}

static inline bool world_said(const char *what)
{
	fflush(world.out);
	return strstr(world.said, what) != NULL;
}

static inline void world_note(const char *what)
{
	size_t used = strlen(world.trace);

	cr_assert_lt(used + strlen(what) + 3, sizeof(world.trace));
	sprintf(world.trace + used, "%s%s", used ? ", " : "", what);
}

static inline void world_at(uint64_t in_us, void (*fire)(uint64_t arg), uint64_t arg)
{
	cr_assert_lt(world.event_count, WORLD_EVENTS);
	world.events[world.event_count++] =
		(struct world_event){world.now_us + in_us, world.events_ever++, fire, arg};
}

static inline bool world_runs_here(void)
{
	return world.web->info.state == DOMAIN_RUNNING;
}

/* ---- the network ---- */

static const struct wire_digest world_digest = {1, {"sixteen letters!"}};

static inline void world_message(struct wire_message *m)
{
	if (world.lost || world.mute >> m->type & 1)
		wire_message_destroy(m);
	else
		cr_assert(world.control.message(world.control.opaque, m, 0));
}

/* A message of the destination's, of this type. */
static inline void world_says(uint64_t type)
{
	struct wire_message m = {.type = (enum wire_type)type}; /* owns what it points to */

	if (type == WIRE_PREPARED) {
		m.prepared.monitor_path = strdup("/monitor");
		m.prepared.stream_path =
			strdup(world.stream_path ? world.stream_path : world.o->place.dir.stream);
	} else if (type == WIRE_BACKING) {
		m.backing.shared = !world.not_shared;
		m.backing.text = strdup(world.not_shared ? world.not_shared : "/ram");
	} else if (type == WIRE_LISTENING) {
		m.listening.text = strdup(world.refusal ? world.refusal : "");
	} else if (type == WIRE_ABORT) {
		m.abort.text = strdup("out of memory there");
		m.abort.why = world.abort_why;
		world.given_up_there = true;
	} else if (type == WIRE_ARRIVAL) {
		m.arrival = world.nonsense ? (struct wire_arrival){UINT64_MAX, UINT64_MAX - 1,
								   UINT64_MAX, UINT64_MAX}
					   : (struct wire_arrival){10, 20, 30, 40};
	} else if (type == WIRE_RESUMED) {
		m.resumed.time_us = WORLD_EPOCH_US + world.now_us + 100; /* its clock is ahead */
	} else if (type == WIRE_DIGEST) {
		struct wire_digest *d = malloc(sizeof(*d));

		*d = world_digest;
		d->digest[0][0] += world.differ;
		m.digest = d;
	}
	world_message(&m);
}

static inline void world_syncs(uint64_t round)
{
	for (uint16_t i = 0; i < WORLD_STREAMS; i++) {
		struct wire_message m = {.type = WIRE_SYNCED, .synced = {i, (uint32_t)round}};

		world_message(&m);
	}
}

static inline void world_loses_control(uint64_t arg)
{
	(void)arg;
	if (!world.control.lost || world.lost)
		return;
	world.lost = true;
	world.control.lost(world.control.opaque, -ETIMEDOUT, "silent");
}

/* ---- libvirt's job ---- */

static inline void world_job_ends(int result, const char *text)
{
	if (!world.job_runs || world.hung_library)
		return;
	world.job_runs = world.stopping = false;
	world.web->info.job = false;
	world_note(result ? "job failed" : "job done");
	world.job.done(world.job.opaque, result, text);
}

/* The library resumes the guest here, and comes to its end. */
static inline void world_confirms(uint64_t arg)
{
	(void)arg;
	if (!world.job_runs)
		return;
	world.web->info.job = false;
	if (world.web->info.state == DOMAIN_PAUSED_MIGRATION && !world.deaf_libvirt &&
	    !world.frozen)
		world.web->info.state = DOMAIN_RUNNING;
	world_job_ends(-EIO, "QEMU's migration failed");
}

/* QEMU's migration has failed, or the daemon there cannot finish it: the guest does not begin to
 * run there any more. */
static inline void world_job_fails(uint64_t arg)
{
	if (!world.job_runs || world.arrived)
		return;
	if (!world.lives_there)
		world.given_up_there = true;
	if (world.forbidden && !world.permitted) {
		world.confirming = true;
		world.gate.confirm_held(world.gate.opaque, true);
	} else {
		world_confirms(arg);
	}
}

static inline void world_job_is_aborted(uint64_t arg)
{
	(void)arg;
	world_job_ends(-ECANCELED, "migration out job: canceled by client");
}

/* The connection to the daemon here is cut: what is not stopped yet runs on, what is stays so. */
static inline void world_job_is_cut(uint64_t arg)
{
	(void)arg;
	world_job_ends(-EPIPE, "end of file");
}

static inline void world_job_is_done(uint64_t arg)
{
	if (!world.lives_there || world.tunnel_cut || world.confirming) {
		world_job_fails(arg);
		return;
	}
	if (world.forbids_all && !world.permitted) {
		if (!world.arrived && world.job_runs)
			world.gate.confirm_held(world.gate.opaque, false);
		world.arrived = true;
		return;
	}
	world.web->info.state = DOMAIN_ABSENT;
	world_job_ends(0, "");
}

/* The daemon there starts the guest, unless it was paused by its user. */
static inline void world_begins_there(uint64_t arg)
{
	(void)arg;
	if (world.given_up_there)
		return;
	world.lives_there = true;
	if (!world.o->guest.was_running)
		return;
	world_says(WIRE_ARRIVAL);
	world_says(WIRE_RESUMED);
}

/* ---- its user ---- */

/* `virsh suspend`, or a disk error; libvirt calls it "by a migration" while its job runs. */
static inline void world_is_paused(uint64_t arg)
{
	(void)arg;
	world.web->info.state = world.job_runs ? DOMAIN_PAUSED_MIGRATION : DOMAIN_PAUSED_USER;
	world.paused_by_user = true;
	fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_STOP,
			  WORLD_EPOCH_US + world.now_us);
}

static inline void world_goes_on(uint64_t arg)
{
	(void)arg;
	world.web->info.state = DOMAIN_RUNNING;
	world.paused_by_user = false;
	fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_RESUME,
			  WORLD_EPOCH_US + world.now_us);
}

/* `virsh destroy`, a shutdown from inside, or QEMU crashes. */
static inline void world_ends_here(uint64_t arg)
{
	(void)arg;
	world.web->info.state = DOMAIN_SHUT_OFF;
	world.web->ignore_shared = false;
	world.qemu_ended = true;
	if (world.gate_open)
		world_at(1000, world_job_fails, 0);
}

/* ---- time ---- */

static inline bool world_fires(uint64_t until_us)
{
	struct world_event *next = NULL, due;

	for (unsigned int i = 0; i < world.event_count; i++) {
		struct world_event *e = &world.events[i];

		if (!next || e->at_us < next->at_us ||
		    (e->at_us == next->at_us && e->order < next->order))
			next = e;
	}
	if (!next || next->at_us > until_us)
		return false;
	due = *next;
	*next = world.events[--world.event_count];
	if (due.at_us > world.now_us)
		world.now_us = due.at_us;
	due.fire(due.arg);
	return true;
}

static inline uint64_t world_now_us(void)
{
	return world.now_us;
}

static inline void world_pause(uint64_t for_us)
{
	uint64_t end = world.now_us + for_us;

	while (world_fires(end))
		;
	world.now_us = end;
}

static inline void world_take_mail(struct mailbox *m, uint64_t deadline_us, struct mail *mail)
{
	if (++world.waits == world.trouble_at) {
		world.trouble_in = world.o->phase;
		world.trouble_came = world.trouble();
	}
	do
		mailbox_take(m, 0, mail);
	while (mail->kind == MAIL_NONE && world_fires(deadline_us));
	if (mail->kind == MAIL_NONE && world.now_us < deadline_us)
		world.now_us = deadline_us;
}

#include "fake_outgoing_calls.h"
#include "fake_outgoing_run.h"
