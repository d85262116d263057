// SPDX-License-Identifier: Apache-2.0
// Recover connections: what is known here of a guest, and giving up one that is on its way.
#include "incoming_private.h"

#include <errno.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "connection.h"
#include "ownership.h"

void incoming_query(struct receiver *r, int fd)
{
	_cleanup_close_ int own = fd;
	_cleanup_message_ struct wire_message m = {0};
	struct wire_message answer = {.type = WIRE_STATE};
	struct errtext err = {0};
	struct host *host = NULL;
	enum wire_state state;
	char uuid[37];
	bool discard;
	int ret;

	if (control_read_one(fd, CONNECTION_FIRST_MS, &m, &err) < 0 ||
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
		control_write_one(fd, CONNECTION_FIRST_MS, &answer, &err);
	}
}
