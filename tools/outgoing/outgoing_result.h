// SPDX-License-Identifier: Apache-2.0
// What a migration came to: its exit status, its result event, and whether to try again. Driving
// thread only.
#pragma once

#include <stdbool.h>
#include "exit_status.h"
#include "phase.h"
#include "report.h"

struct outgoing;

/* Of a migration that has ended in a phase that is final. for_operator: somebody has to look after
 * the guest; post-copy's proof found its memory to differ, or it stays and does not run. */
enum exit_status outgoing_result_status(enum phase phase, bool for_operator);
const char *outgoing_result_word(enum phase phase, bool for_operator);
/* Could what failed with this negative errno, before anything was touched, succeed later? Bad usage
 * stays bad; a receiver that does not answer may do so later. */
bool outgoing_result_is_passing(int code);
/* The result event, but for the word. */
void outgoing_result_fill(struct outgoing *o, const char *word, struct report_result *r);
