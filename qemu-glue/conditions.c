// SPDX-License-Identifier: Apache-2.0
// A list of conditions.
#include "conditions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conditions_add(struct conditions *c, const char *type, enum condition_status status,
		    const char *reason, const char *fmt, ...)
{
	struct condition *grown = reallocarray(c->list, c->count + 1, sizeof(*grown));
	char *message;
	va_list args;
	int ret;

	if (!grown) {
		c->incomplete = true;
		return;
	}
	c->list = grown;
	va_start(args, fmt);
	ret = vasprintf(&message, fmt, args);
	va_end(args);
	if (ret < 0) {
		c->incomplete = true;
		return;
	}
	c->list[c->count++] = (struct condition){
		.type = type, .reason = reason, .status = status, .message = message};
}

void conditions_destroy(struct conditions *c)
{
	for (unsigned int i = 0; i < c->count; i++)
		free(c->list[i].message);
	free(c->list);
	*c = (struct conditions){0};
}

static bool matches(const struct condition *c, const char *type, enum condition_status status)
{
	return c->status == status && (!type || !strcmp(c->type, type));
}

unsigned int conditions_count(const struct conditions *c, const char *type,
			      enum condition_status status)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < c->count; i++)
		n += matches(&c->list[i], type, status);
	return n;
}

const struct condition *conditions_first(const struct conditions *c, const char *type,
					 enum condition_status status)
{
	for (unsigned int i = 0; i < c->count; i++) {
		if (matches(&c->list[i], type, status))
			return &c->list[i];
	}
	return NULL;
}

bool conditions_have_type(const struct conditions *c, const char *type)
{
	for (unsigned int i = 0; i < c->count; i++) {
		if (!strcmp(c->list[i].type, type))
			return true;
	}
	return false;
}

const char *condition_status_name(enum condition_status status)
{
	static const char *const names[] = {
		[CONDITION_FALSE] = "False",
		[CONDITION_UNKNOWN] = "Unknown",
		[CONDITION_TRUE] = "True",
	};

	return names[status];
}
