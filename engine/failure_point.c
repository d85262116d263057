// SPDX-License-Identifier: Apache-2.0
// Named failure points, chosen by the environment variable DRAY_FAULT.
//
// The variable is read afresh at every point: no state, and so no thread to protect it from. It
// is checked as a whole each time, so that a mistake in any entry shows at the first point passed.
#include "failure_point.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int act_kill(void)
{
	raise(SIGKILL);
	abort();
}

static int act_stop(void)
{
	/* raise, not kill(getpid()): the caller must not run on until the stop has taken hold. */
	raise(SIGSTOP);
	return 0;
}

static int act_fail(void)
{
	return -EIO;
}

static const struct action {
	const char *name;
	int (*act)(void);
} actions[] = {
	{"kill", act_kill},
	{"stop", act_stop},
	{"fail", act_fail},
};

/* One POINT=ACTION; the texts are not terminated. */
struct entry {
	const char *point;
	size_t point_len;
	const struct action *action;
};

static bool text_is(const char *text, size_t len, const char *expected)
{
	return strlen(expected) == len && memcmp(text, expected, len) == 0;
}

static void entry_parse(const char *text, size_t len, struct entry *entry)
{
	const char *equals = memchr(text, '=', len);

	if (equals && equals != text) {
		const char *name = equals + 1;

		entry->point = text;
		entry->point_len = (size_t)(equals - text);
		for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
			entry->action = &actions[i];
			if (text_is(name, (size_t)(text + len - name), entry->action->name))
				return;
		}
	}
	fprintf(stderr, "DRAY_FAULT: '%.*s' is not POINT=kill, POINT=stop or POINT=fail\n",
		(int)len, text);
	abort();
}

/* Takes one entry off *spec; false at its end. */
static bool entry_next(const char **spec, struct entry *entry)
{
	size_t len = strcspn(*spec, ",");

	if (!**spec)
		return false;
	entry_parse(*spec, len, entry);
	*spec += len;
	if (**spec == ',')
		(*spec)++;
	return true;
}

int failure_point(const char *point)
{
	const char *spec = getenv("DRAY_FAULT");
	struct entry entry;
	int result = 0;

	if (!spec)
		return 0;
	for (const char *rest = spec; entry_next(&rest, &entry);)
		; /* all entries are sound, or we do not get past here */
	while (entry_next(&spec, &entry)) {
		if (!text_is(entry.point, entry.point_len, point))
			continue;
		if (entry.action->act())
			result = -EIO;
	}
	return result;
}
