// SPDX-License-Identifier: Apache-2.0
// What of a source's calls reaches this host's libvirt: those of one migration, and no more.
//
// The source's libvirt client speaks to the destination's daemon through dray, whose connection the
// daemon trusts as root's. So each call is read as a whole first, and judged:
//
//   open, close, features, capabilities      pass: they change nothing
//   keep-alive                               passes
//   look-up by UUID                          the guest's own only
//   Prepare (a QEMU is started)              once; QEMU listens where dray says, and the definition
//                                            may be started here (definition_check.h)
//   Finish (the guest runs, or is ended)     after Prepare, once; its definition is kept
//   everything else                          does not pass
//
// Source: libvirt's src/rpc/virnetprotocol.x, src/remote/remote_protocol.x; which calls its client
// makes was seen with libvirt 9.0.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "definition_check.h"
#include "errtext.h"

struct tunnel_policy {
	struct definition_policy definition;
	const char *stream_path; /* where QEMU shall listen for its stream */
};

/* What has passed; one for each connection, zero at first. */
struct tunnel_state {
	bool prepared, finished;
};

/* May this whole message pass? 0; or -EPERM or -EPROTO, with a text. Reads the file system; any
 * thread. */
int tunnel_judge(struct tunnel_state *state, const struct tunnel_policy *policy,
		 const uint8_t *message, size_t len, struct errtext *err);
