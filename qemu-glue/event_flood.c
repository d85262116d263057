// SPDX-License-Identifier: Apache-2.0
// Do a guest's events come faster than a client should let libvirt send them?
#include "event_flood.h"

#define SECOND_US 1000000

/* The host's clock may be set back meanwhile. */
bool event_flood_note(struct event_flood *f, uint64_t time_us)
{
	if (f->count == 0 || time_us < f->begun_us || time_us - f->begun_us >= SECOND_US)
		*f = (struct event_flood){.begun_us = time_us};
	return ++f->count > EVENT_FLOOD_MAX;
}
