// SPDX-License-Identifier: Apache-2.0
// What a migration came to: its exit status, its result event, and whether to try again. Driving
// thread only.
#pragma once

#include <stdbool.h>
#include "exit_status.h"
#include "phase.h"
#include "report.h"

struct outgoing;

/* Of a migration that has ended in a phase that is final. damaged: post-copy's proof found the
 * guest's memory to differ. */
enum exit_status outgoing_result_status(enum phase phase, bool damaged);
const char *outgoing_result_word(enum phase phase, bool damaged);
/* Could what failed with this negative errno, before anything was touched, succeed later? Bad usage
 * stays bad; a receiver that does not answer may do so later. */
bool outgoing_result_is_passing(int code);
/* The result event, but for the word. */
void outgoing_result_fill(struct outgoing *o, const char *word, struct report_result *r);
