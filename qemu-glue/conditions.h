// SPDX-License-Identifier: Apache-2.0
// A list of conditions, in the form that Kubernetes gives them: type, status, reason, message.
//
// One thread at a time. Adding never fails visibly: what found no memory is missing, and the list
// says so (incomplete), to be looked at once, at the end.
#pragma once

#include <stdbool.h>

enum condition_status { CONDITION_FALSE, CONDITION_UNKNOWN, CONDITION_TRUE };

struct condition {
	const char *type;   /* static text: "LiveMigratable" */
	const char *reason; /* static text: "DisksNotLiveMigratable" */
	enum condition_status status;
	char *message; /* owned; never NULL */
};

struct conditions {
	struct condition *list; /* owned */
	unsigned int count;
	bool incomplete;
};

/* type and reason are kept, not copied. */
void conditions_add(struct conditions *c, const char *type, enum condition_status status,
		    const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void conditions_destroy(struct conditions *c);

/* How many have this status; type may be NULL for any. */
unsigned int conditions_count(const struct conditions *c, const char *type,
			      enum condition_status status);
/* The first of this type (NULL: any) and status, or NULL. */
const struct condition *conditions_first(const struct conditions *c, const char *type,
					 enum condition_status status);
bool conditions_have_type(const struct conditions *c, const char *type);

/* "True", "False", "Unknown". */
const char *condition_status_name(enum condition_status status);
