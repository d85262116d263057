// SPDX-License-Identifier: Apache-2.0
// The events of QEMU that matter to a migration.
#include "qemu_event.h"

#include <stddef.h>
#include <string.h>

/* QEMU's QAPI schema: run-state.json for STOP and RESUME, migration.json for MIGRATION,
 * machine.json for BALLOON_CHANGE. */
static const struct {
	const char *name, *status;
	enum qemu_event event;
} known[] = {
	{"STOP", NULL, QEMU_EVENT_STOP},
	{"RESUME", NULL, QEMU_EVENT_RESUME},
	{"MIGRATION", "pre-switchover", QEMU_EVENT_AT_REST},
	{"MIGRATION", "device", QEMU_EVENT_AT_REST},
	{"MIGRATION", "completed", QEMU_EVENT_COMPLETED},
	{"MIGRATION", "cancelling", QEMU_EVENT_CANCELLED},
	{"MIGRATION", "cancelled", QEMU_EVENT_CANCELLED},
	{"BALLOON_CHANGE", NULL, QEMU_EVENT_BALLOON},
};

const char *qemu_event_word(unsigned int index)
{
	static const char *const words[QEMU_EVENT_WORDS] = {"STOP", "RESUME", "MIGRATION",
							    "BALLOON_CHANGE"};

	return words[index];
}

enum qemu_event qemu_event_of(const char *name, const char *status)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(known[i].name, name) == 0 &&
		    (!known[i].status || (status && strcmp(known[i].status, status) == 0)))
			return known[i].event;
	return QEMU_EVENT_OTHER;
}

const char *qemu_event_name(enum qemu_event event)
{
	static const char *const names[] = {
		[QEMU_EVENT_OTHER] = "other",
		[QEMU_EVENT_STOP] = "STOP",
		[QEMU_EVENT_AT_REST] = "MIGRATION at rest",
		[QEMU_EVENT_COMPLETED] = "MIGRATION completed",
		[QEMU_EVENT_CANCELLED] = "MIGRATION cancelled",
		[QEMU_EVENT_RESUME] = "RESUME",
		[QEMU_EVENT_BALLOON] = "BALLOON_CHANGE",
		[QEMU_EVENT_GONE] = "monitor lost",
		[QEMU_EVENT_UNSEEN] = "libvirt lost",
		[QEMU_EVENT_FLOOD] = "too many",
	};

	_Static_assert(sizeof(names) / sizeof(*names) == QEMU_EVENT_END_,
		       "one name for each event");
	return (unsigned int)event < QEMU_EVENT_END_ ? names[event] : "?";
}
