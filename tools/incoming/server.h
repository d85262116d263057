// SPDX-License-Identifier: Apache-2.0
// The destination's port: takes connections and hands them to their sessions.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "report.h"
#include "socket.h"

struct incoming_world;

struct server_options {
	const char *libvirt_socket; /* resolved: host_socket_path */
	/* What another host may have started here: of struct definition_policy. Borrowed for the
	 * process's life. */
	const char *const *allow_paths;
	unsigned int agreed;
	bool contained; /* of struct definition_policy: libvirt's is a launcher's */
	struct socket_options socket;
	const char *tls_dir; /* NULL or "": without TLS */
	/* Names of which a source's certificate must have one; none: any of our CAs' will do. They
	 * outlive the process's last session. */
	const char *const *allow_peers;
	unsigned int allow_peer_count;
	uint16_t port;
	unsigned int max_inbound;
	/* End after one migration, with its status; but not while another is under way, which then
	 * counts too. */
	bool once;
	/* Take no new migrations, but carry on what other processes began; end when this session
	 * (in hexadecimal, as records have it) is over, and no other is under way. NULL: an
	 * ordinary receiver. */
	const char *session;
	int stop_fd; /* ends when this can be read; -1: nothing ends it */
	struct report *report;
	const struct incoming_world *world; /* NULL: the real one */
};

/* Serve until told to stop: an exit status. A negative errno if it could not begin. The options are
 * copied, the report too: sessions that are under way when it returns end with the process. */
int server_run(const struct server_options *options, struct errtext *err);
