// SPDX-License-Identifier: Apache-2.0
// A stream of memory over a line: uring_stream.h, and TLS between it and the caller if the line has
// it. What is counted and capped is what the socket carries.
#pragma once

#include "line.h"
#include "uring_stream.h"

/* The line is the stream's in any case. opt may be NULL. 0 or a negative errno with a text. */
int tls_stream_new(struct line line, const struct uring_stream_options *opt,
		   struct byte_stream **out, struct errtext *err);
