// SPDX-License-Identifier: Apache-2.0
// From settings to the options of an outgoing migration, for every subcommand that has them.
#pragma once

#include "outgoing.h"
#include "report.h"
#include "settings_options.h"

/* After argp_parse: fill *out with what the files and options come to. 0, or the exit status: what
 * is wrong has been told. */
int outgoing_arguments_resolve(const struct settings_input *in, struct outgoing_options *out,
			       struct report *report);
