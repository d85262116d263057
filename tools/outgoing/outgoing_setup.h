// SPDX-License-Identifier: Apache-2.0
// The beginning of a migration. Driving thread only; negative errno, recorded.
#pragma once

struct outgoing;

/* Before the first phase: can this guest be moved at all? Touches nothing. */
int outgoing_setup_check(struct outgoing *o);
/* The phases until the guest's memory is tracked. */
int outgoing_setup_connect(struct outgoing *o);
int outgoing_setup_prepare(struct outgoing *o);
