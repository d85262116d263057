// SPDX-License-Identifier: Apache-2.0
// The options that give a migration its settings, for every subcommand that has them.
//
// An argp child: the parent puts &settings_argp among its children and, at ARGP_KEY_INIT, a zeroed
// struct settings_input into state->child_inputs. After argp_parse, settings_resolve reads the
// files and puts the layers together: defaults < --config, or else SETTINGS_FILE < policy <
// options. All of settings but parallelInboundMigrationsPerNode has an option here; that one is
// `receive`'s.
#pragma once

#include <argp.h>
#include <stdbool.h>
#include "errtext.h"
#include "settings.h"

struct settings_input {
	const char *config, *policy, *vmi_labels, *namespace_labels; /* in argv; NULL: not given */
	const char *usual;	 /* the file that is read without config; NULL: none */
	struct settings options; /* those `set` were given */
};

extern const struct argp settings_argp;

/* -EINVAL: a contradiction, a bad label, or what is wrong with a file;
 * further codes as settings_load and migration_policies_load. That no policy matches is no error:
 * s->policy is empty then, s->policies tells how many there were. */
int settings_resolve(const struct settings_input *in, struct settings *s, struct errtext *err);
