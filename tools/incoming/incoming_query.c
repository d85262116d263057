// SPDX-License-Identifier: Apache-2.0
// Recover connections: what is known here of a guest, and giving up one that is on its way.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "ownership.h"
#include "socket.h"

void incoming_query(struct receiver *r, int fd)
{
	_cleanup_close_ int own = fd;
	_cleanup_message_ struct wire_message m = {0};
	struct wire_message answer = {.type = WIRE_STATE};
	_cleanup_free_ uint8_t *buf = malloc(WIRE_HEADER_SIZE + WIRE_BODY_MAX);
	struct errtext err = {0};
	struct host *host = NULL;
	enum wire_state state;
	char uuid[37];
	bool discard;
	long len;
	int ret;

	if (!buf || control_read_one(fd, ANSWER_MS, &m, &err) < 0 ||
	    (m.type != WIRE_QUERY && m.type != WIRE_DISCARD) ||
	    r->opt.world->open_host(r->opt.libvirt_socket, &host, &err) < 0)
		return;
	discard = m.type == WIRE_DISCARD;
	uuid_unparse_lower(m.query.uuid, uuid);
	ret = ownership_answer(host, uuid, &state, &err);
	if (ret == 0 && discard && state == WIRE_STATE_INCOMING &&
	    host_destroy(host, uuid, &err) == 0)
		ret = ownership_answer(host, uuid, &state, &err);
	host_close(host);
	if (ret == 0) {
		answer.state.state = state;
		len = wire_message_encode(&answer, buf, WIRE_HEADER_SIZE + WIRE_BODY_MAX);
		if (len > 0)
			socket_write_full(fd, buf, len, ANSWER_MS);
	}
}
