// SPDX-License-Identifier: Apache-2.0
// A set of migration policies, and which one wins.
#include "migration_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct migration_policy *migration_policies_grow(struct migration_policies *p)
{
	struct migration_policy *items = reallocarray(p->items, p->count + 1, sizeof(*items));

	if (!items)
		return NULL;
	p->items = items;
	items[p->count] = (struct migration_policy){0};
	settings_init(&items[p->count].values);
	return &items[p->count++];
}

void migration_policies_destroy(struct migration_policies *p)
{
	for (unsigned int i = 0; i < p->count; i++) {
		labels_destroy(&p->items[i].vmi);
		labels_destroy(&p->items[i].namespace);
	}
	free(p->items);
	*p = (struct migration_policies){0};
}

static bool matches(const struct migration_policy *policy, const struct labels *vmi,
		    const struct labels *namespace)
{
	return policy->selects && labels_match(&policy->vmi, vmi) &&
	       labels_match(&policy->namespace, namespace);
}

static bool goes_before(const struct migration_policy *a, const struct migration_policy *b)
{
	unsigned int of_a = a->vmi.count + a->namespace.count;
	unsigned int of_b = b->vmi.count + b->namespace.count;

	if (of_a != of_b)
		return of_a > of_b;
	if (a->vmi.count != b->vmi.count)
		return a->vmi.count > b->vmi.count;
	return strcmp(a->name, b->name) < 0;
}

const struct migration_policy *migration_policies_match(const struct migration_policies *p,
							const struct labels *vmi,
							const struct labels *namespace)
{
	const struct migration_policy *best = NULL;

	for (unsigned int i = 0; i < p->count; i++)
		if (matches(&p->items[i], vmi, namespace) &&
		    (!best || goes_before(&p->items[i], best)))
			best = &p->items[i];
	return best;
}

void migration_policy_apply(const struct migration_policy *policy, struct settings *s)
{
	settings_merge(s, &policy->values);
	snprintf(s->policy, sizeof(s->policy), "%s", policy->name);
}
