// SPDX-License-Identifier: Apache-2.0
// Between a source's libvirt client and this host's libvirt: calls pass as tunnel_judge.h says, the
// daemon's answers flow back as they are. A call that may not pass ends the connection, and
// `refused` tells why.
#pragma once

#include <stdbool.h>
#include "errtext.h"
#include "tunnel_judge.h"

struct tunnel_filter;

struct tunnel_filter_options {
	struct tunnel_policy policy; /* its strings are borrowed for the filter's life */
	/* A call was refused. By the filter's thread; must not call back into the filter. */
	void (*refused)(void *opaque, const char *text);
	void *opaque;
};

/* Passes calls from `client` to `daemon`, answers back, until either ends. Both become ours, also
 * on failure. */
int tunnel_filter_start(int client, int daemon, const struct tunnel_filter_options *options,
			struct tunnel_filter **out, struct errtext *err);
/* Any thread. After it has returned no further call reaches the daemon, which sees its client go.
 */
void tunnel_filter_cut(struct tunnel_filter *f);
/* Any thread. The daemon was asked to prepare. */
bool tunnel_filter_has_prepared(struct tunnel_filter *f);
/* Any thread. The daemon has closed its side. */
bool tunnel_filter_has_lost_daemon(struct tunnel_filter *f);
/* Cuts. NULL is fine. No other call may be under way. */
void tunnel_filter_destroy(struct tunnel_filter *f);
