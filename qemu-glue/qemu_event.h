// SPDX-License-Identifier: Apache-2.0
// The events of QEMU that matter to a migration; the only place that knows their words.
#pragma once

#include <stdint.h>

enum qemu_event {
	QEMU_EVENT_OTHER,     /* no matter to us */
	QEMU_EVENT_STOP,      /* the vCPUs stand still; disk I/O in flight may still write memory */
	QEMU_EVENT_AT_REST,   /* a migration has reached pre-switchover or device: I/O is drained */
	QEMU_EVENT_COMPLETED, /* all has been sent: nothing in QEMU lets the guest run any more */
	QEMU_EVENT_CANCELLED, /* somebody has had the migration cancelled: the guest runs on */
	QEMU_EVENT_RESUME,    /* the vCPUs run */
	QEMU_EVENT_BALLOON,   /* the guest has given memory back, or taken some again */
	QEMU_EVENT_GONE,      /* not QEMU's own: its monitor was lost, and so perhaps was QEMU */
	QEMU_EVENT_UNSEEN,    /* nor this: libvirt's daemon has gone, and shows no event any more */
	QEMU_EVENT_FLOOD, /* nor this: there are too many of them (event_flood.h); the last one */
	QEMU_EVENT_END_
};

/* QEMU's name for an event, and the text of data.status if it has one, else NULL. */
enum qemu_event qemu_event_of(const char *name, const char *status);
/* The words of QEMU's that qemu_event_of knows, each once: index 0 to QEMU_EVENT_WORDS - 1. */
#define QEMU_EVENT_WORDS 4
const char *qemu_event_word(unsigned int index);
/* As QEMU names it, for reports. */
const char *qemu_event_name(enum qemu_event event);

/* time_us: CLOCK_REALTIME, as QEMU stamped it. */
typedef void qemu_event_fn(void *opaque, enum qemu_event event, uint64_t time_us);
