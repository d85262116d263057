// SPDX-License-Identifier: Apache-2.0
// KubeVirt's MigrationPolicy objects: which one a guest falls under, and what it changes.
//
// As in KubeVirt, all labels of both selectors must match; a missing or empty selector matches
// everything, but a policy without spec.selectors nothing. Of those that match, the one with most
// labels wins, then with most labels of the guest itself, then the first by name. What it sets
// overrides the configuration; if it sets allowPostCopy only, allowWorkloadDisruption gets the
// same value. Unlike KubeVirt, a guest without labels gets no exemption from selectors.
//
// A zeroed set is empty; the caller owns it. One thread.
#pragma once

#include "errtext.h"
#include "labels.h"
#include "settings.h"

struct migration_policy {
	char name[SETTING_NAME_SIZE];
	char place[SETTING_ORIGIN_SIZE]; /* FILE:LINE of its name */
	bool selects;			 /* has spec.selectors */
	struct labels vmi, namespace;	 /* selectors */
	struct settings values;		 /* only those which are `set` count */
};

struct migration_policies {
	struct migration_policy *items;
	unsigned int count;
};

/* Add the policies of a file (YAML or JSON, one or more documents, or a List), or of all *.yaml,
 * *.yml and *.json of a directory by name. -EINVAL, -ERANGE, -EEXIST: what is written there;
 * -EFBIG: a file beyond 1 MiB; else why it could not be read. The text names file and line. */
int migration_policies_load(struct migration_policies *p, const char *path, struct errtext *err);
/* The same from memory; name stands for the file. */
int migration_policies_load_text(struct migration_policies *p, const char *name, const char *text,
				 size_t size, struct errtext *err);
void migration_policies_destroy(struct migration_policies *p);

/* The policy for a guest, or NULL; lives as p does. */
const struct migration_policy *migration_policies_match(const struct migration_policies *p,
							const struct labels *vmi,
							const struct labels *namespace);
void migration_policy_apply(const struct migration_policy *policy, struct settings *s);

/* An empty one to fill in, owned by p, or NULL without memory. Moves the others. */
struct migration_policy *migration_policies_grow(struct migration_policies *p);
