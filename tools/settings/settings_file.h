// SPDX-License-Identifier: Apache-2.0
// A mapping of settings inside a YAML tree: what the configuration file and policies share.
#pragma once

#include "settings.h"
#include "yaml.h"

struct settings_mapping {
	const char *origin;	    /* of the values */
	bool policy;		    /* only what a MigrationPolicy may set */
	const char *const *ignored; /* keys that are no business of ours; ends with NULL */
};

/* Take all values of map into s. -EINVAL, -ERANGE: the error text names file, line and key. */
int settings_read_mapping(struct settings *s, const struct yaml *y, struct fy_node *map,
			  const struct settings_mapping *m, struct errtext *err);
