// SPDX-License-Identifier: Apache-2.0
// Kubernetes labels of a guest, of its namespace, or of a selector.
//
// Keys are unique. Owned by the caller; a zeroed struct is an empty set. One thread.
#pragma once

#include <stdbool.h>
#include "errtext.h"

#define LABEL_PREFIX_MAX 253
#define LABEL_NAME_MAX 63
#define LABELS_MAX 256

struct label {
	char key[LABEL_PREFIX_MAX + 1 + LABEL_NAME_MAX + 1];
	char value[LABEL_NAME_MAX + 1];
};

struct labels {
	struct label *items;
	unsigned int count;
};

/* Check and add one. place begins the error text: an option, or "FILE:LINE". -EINVAL: not the
 * syntax of a label; -EEXIST: the key is there already; -E2BIG: more than LABELS_MAX. */
int labels_add(struct labels *l, const char *key, const char *value, const char *place,
	       struct errtext *err);
/* "a=b,c=d"; "" for none. Errors as above. */
int labels_parse(struct labels *l, const char *text, const char *place, struct errtext *err);
void labels_destroy(struct labels *l);
/* Does every label of the selector stand in l? An empty selector matches everything. */
bool labels_match(const struct labels *selector, const struct labels *l);
/* A DNS subdomain, as names of Kubernetes objects are. */
bool label_is_dns_subdomain(const char *text);
