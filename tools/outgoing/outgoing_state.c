// SPDX-License-Identifier: Apache-2.0
// How far a migration has come, and the first thing that went wrong.
#include "outgoing_state.h"

#include <stdarg.h>
#include <stdio.h>
#include "outgoing_private.h"

int outgoing_fail(struct outgoing *o, int code, const char *fmt, ...)
{
	char text[ERRTEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	errtext_set(&o->err, code, "%s", text);
	if (o->failed == 0)
		o->failed = code;
	return code;
}

bool outgoing_is_handed_over(const struct outgoing *o)
{
	return phase_owner(o->phase) != OWNER_SOURCE;
}

bool outgoing_may_give_up(const struct outgoing *o)
{
	return o->phase < PHASE_HANDOVER;
}
