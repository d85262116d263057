// SPDX-License-Identifier: Apache-2.0
// One migration, as the source drives it.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "compression.h"
#include "errtext.h"
#include "report.h"
#include "socket.h"
#include "steering.h"

struct outgoing_world;

struct outgoing_options {
	const struct outgoing_world *world; /* outgoing_world_real(); tests have others */
	const char *domain;		    /* name or UUID */
	const char *destination;	    /* HOST[:PORT] as given */
	const char *libvirt_socket;	    /* NULL: the usual one */
	struct socket_options socket;
	char tls_dir[256]; /* this host's credentials (tls_credentials.h); "": without TLS */
	const char *lane;  /* one of outgoing_has_lane; NULL: the first that the guest allows */
	unsigned int streams;
	struct steering_limits limits; /* to begin with: `dray set` may change them */
	uint32_t completion_s_per_gib; /* 0: no limit */
	uint32_t progress_s;	       /* without progress; 0: no limit */
	bool post_copy_now;	       /* switch to post-copy after one round */
	bool disruption;	       /* may stop the guest for as long as it takes */
	bool auto_converge;	       /* may slow the guest's vCPUs */
	struct compression compression;
	bool keep_private;     /* private memory stays so */
	uint32_t max_outbound; /* migrations that may leave this host at once */
	uint32_t queue_s;      /* to wait for one's turn; 0: no limit */
	uint32_t retries;      /* further attempts after failures that may pass */
	bool die_with_parent;
	uint32_t connect_ms; /* to reach the receiver */
	uint32_t silence_ms; /* peer counts as lost while the guest runs */
	uint32_t stopped_ms; /* most waiting for the network while the guest is stopped */
	uint32_t resolve_ms; /* asking the destination after a broken hand-over */
	bool verify;
	bool no_prefetch;
	bool trial; /* end when the destination's QEMU has been started: EXIT_COMPLETED if it was,
		     * with the guest where it is */
};

void outgoing_defaults(struct outgoing_options *o);
/* By its name (lane.h). */
bool outgoing_has_lane(const char *name);

/* One attempt. Fills *result and returns the exit status; *may_pass says that another attempt has a
 * chance. Events have been reported, the result has not. */
int outgoing_run(const struct outgoing_options *options, struct steering *steering,
		 struct report *report, struct report_result *result, bool *may_pass);
