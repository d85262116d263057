// SPDX-License-Identifier: Apache-2.0
// libvirt's managed migration of one guest, run in a thread of its own.
//
// The client library (not the daemons) takes the guest through Begin, Prepare, Perform, Finish and
// Confirm, with the source's daemon behind the gate and the destination's behind dray's tunnel.
#pragma once

#include <stdbool.h>
#include "errtext.h"

struct libvirt_job;

struct libvirt_job_options {
	const char *source_socket;	/* the gate's */
	const char *destination_socket; /* the tunnel's */
	bool session;			/* both daemons are a user's own */
	const char *uuid;
	const char *destination_xml; /* live definition for the destination */
	const char *persistent_xml;  /* stored definition there, or NULL for a transient guest;
				      * the source's is then removed */
	const char *stream_path;     /* UNIX socket of QEMU's stream, same path on both hosts */
	/* The migration has ended: 0 or a negative errno and libvirt's text. From the thread.
	 * -ECANCELED: its job was aborted by a client of libvirt's. -ECONNRESET: a connection to a
	 * daemon broke. -EAGAIN: a daemon is busy. -EPERM: a daemon said no. */
	void (*done)(void *opaque, int result, const char *text);
	void *opaque;
};

/* The strings are copied. */
int libvirt_job_start(const struct libvirt_job_options *options, struct libvirt_job **out,
		      struct errtext *err);
/* Waits for `done` to have been called: first make sure that libvirt returns (cut its
 * connections). */
void libvirt_job_join(struct libvirt_job *job);
