// SPDX-License-Identifier: Apache-2.0
// Recover connections: what is known here of a guest, and giving up one that is on its way.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "socket.h"

/* The answer must be final: ABSENT only if it can no longer begin to run here, ENDED only if it did
 * run. 0: nobody can tell, as after a reboot, which took the record with it, or when libvirt has
 * stored the definition (which it does before the guest is started) and nobody saw what came
 * next. */
static enum wire_state state_here(struct host *host, const char *uuid, struct errtext *err)
{
	struct guest_dir dir;
	struct record in, out;
	struct domain_info info;
	bool known;

	guest_dir_paths(&dir, uuid);
	if (host_state(host, uuid, &info, err) < 0)
		return 0;
	known = record_read(&dir, RECORD_INCOMING, &in, NULL) == 0;
	switch (info.state) {
	case DOMAIN_ABSENT:
		if (!known)
			return 0;
		return in.resumed ? WIRE_STATE_ENDED : WIRE_STATE_ABSENT;
	case DOMAIN_SHUT_OFF:
		if (known && in.resumed)
			return WIRE_STATE_ENDED;
		return known && (in.defined_before || in.never_ran) ? WIRE_STATE_ABSENT : 0;
	case DOMAIN_INCOMING:
		return WIRE_STATE_INCOMING;
	case DOMAIN_PAUSED_MIGRATION:
		/* Paused by a migration in, unless one out of here is recorded. */
		return record_read(&dir, RECORD_OUTGOING, &out, NULL) == 0 ? WIRE_STATE_RUNNING
									   : WIRE_STATE_INCOMING;
	default:
		return WIRE_STATE_RUNNING;
	}
}

void incoming_query(struct receiver *r, int fd)
{
	_cleanup_close_ int own = fd;
	struct wire_message *m = calloc(1, sizeof(*m));
	_cleanup_free_ uint8_t *buf = malloc(WIRE_HEADER_SIZE + WIRE_BODY_MAX);
	struct errtext err = {0};
	struct host *host = NULL;
	enum wire_state state;
	char uuid[37];
	bool discard;
	long len;

	if (!m || !buf || control_read_one(fd, ANSWER_MS, m, &err) < 0 ||
	    (m->type != WIRE_QUERY && m->type != WIRE_DISCARD) ||
	    r->opt.world->open_host(r->opt.libvirt_socket, &host, &err) < 0) {
		free(m);
		return;
	}
	discard = m->type == WIRE_DISCARD;
	uuid_unparse_lower(m->query.uuid, uuid);
	state = state_here(host, uuid, &err);
	if (discard && state == WIRE_STATE_INCOMING && host_destroy(host, uuid, &err) == 0)
		state = state_here(host, uuid, &err);
	host_close(host);
	if (state) {
		*m = (struct wire_message){.type = WIRE_STATE, .state = {.state = state}};
		len = wire_message_encode(m, buf, WIRE_HEADER_SIZE + WIRE_BODY_MAX);
		if (len > 0)
			socket_write_full(fd, buf, len, ANSWER_MS);
	}
	free(m);
}
