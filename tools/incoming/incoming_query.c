// SPDX-License-Identifier: Apache-2.0
// Recover connections: what is known here of a guest, and giving up one that is on its way.
//
// Only of a migration of which this host has a record. A guest is given up only for as long as it
// has not run, which is made sure of with its QEMU standing still: libvirt's Finish may come at any
// moment (monitor_log.h, by way of the world). The record itself is the session's, or recovery's,
// to write.
#include "incoming_private.h"

#include <errno.h>
#include "cleanup.h"
#include "connection.h"
#include "ownership.h"

/* If its session is under way: Finish, which may be on its way, does not come through. */
static void cut_tunnels(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in = receiver_enter(r, session);

	if (!in)
		return;
	incoming_joined_cut_tunnels(in);
	receiver_leave(in);
}

/* Whatever comes of it: what is answered is what is seen then. */
static void discard(struct receiver *r, const struct wire_query *query)
{
	struct guest_dir dir;
	struct record record;

	if (ownership_record(query, &r->opt.self, &dir, &record, NULL) < 0)
		return;
	if (!record.resumed && !record.never_ran && record.qemu > 0) {
		cut_tunnels(r, query->session);
		r->opt.world->end_unless_resumed(record.qemu, record.qemu_started, dir.monitor,
						 NULL);
	}
	record_destroy(&record);
}

/* -ENODATA: STATE says why there is no answer. */
static int answer(struct receiver *r, struct host *host, const struct wire_message *question,
		  struct wire_message *m, struct errtext *err)
{
	enum wire_state state;
	int ret = ownership_answer(host, &question->query, &r->opt.self, &state, err);

	if (ret == 0 && state == WIRE_STATE_INCOMING && question->type == WIRE_DISCARD) {
		discard(r, &question->query);
		ret = ownership_answer(host, &question->query, &r->opt.self, &state, err);
	}
	m->state.state = ret == 0 ? state : WIRE_STATE_UNKNOWN;
	m->state.text = ret == 0 ? "" : err->text;
	return ret == -ENODATA ? 0 : ret;
}

void incoming_query(struct receiver *r, int fd)
{
	_cleanup_close_ int own = fd;
	_cleanup_message_ struct wire_message m = {0};
	struct wire_message state = {.type = WIRE_STATE};
	struct errtext err = {0};
	struct host *host = NULL;

	if (control_read_one(fd, CONNECTION_FIRST_MS, &m, &err) < 0 ||
	    (m.type != WIRE_QUERY && m.type != WIRE_DISCARD) ||
	    r->opt.world->open_host(r->opt.libvirt_socket, &host, &err) < 0)
		return;
	if (answer(r, host, &m, &state, &err) == 0)
		control_write_one(fd, CONNECTION_FIRST_MS, &state, NULL);
	host_close(host);
}
