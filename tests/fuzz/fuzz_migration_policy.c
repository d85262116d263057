// SPDX-License-Identifier: Apache-2.0
// Migration policies: any bytes in; each policy read matches the labels that it selects.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "migration_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct migration_policies p = {0};
	struct errtext err = {0};
	int ret = migration_policies_load_text(&p, "fuzz", (const char *)data, size, &err);

	if (ret < 0 && strncmp(err.text, "fuzz", 4) != 0)
		abort();
	for (unsigned int i = 0; ret == 0 && i < p.count; i++) {
		const struct migration_policy *q = &p.items[i];
		struct settings s;

		if (!*q->name ||
		    (q->selects && !migration_policies_match(&p, &q->vmi, &q->namespace)))
			abort();
		settings_init(&s);
		migration_policy_apply(q, &s);
	}
	migration_policies_destroy(&p);
	return 0;
}
