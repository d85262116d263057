// SPDX-License-Identifier: Apache-2.0
// What a running migration answers to a request.
#pragma once

#include <stddef.h>
#include "live.h"

/* Serve one request of len bytes by the handlers; the reply, with its newline, is the caller's to
 * free. NULL: no memory. On the thread that the handlers belong to. */
char *live_answer(const struct live_handlers *handlers, const char *line, size_t len);
