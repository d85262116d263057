// SPDX-License-Identifier: Apache-2.0
// One migration, as the destination serves it: the session.
//
// How it ends is in incoming_end.c.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "connection.h"
#include "line.h"

static void destroy(struct incoming *in)
{
	incoming_live_stop(in);
	incoming_monitor_unwatch(in);
	receiver_remove(in);
	incoming_joined_end(in);
	incoming_link_tell_end(in, false);
	incoming_postcopy_release(in);
	incoming_joined_destroy(in);
	control_destroy(in->control);
	incoming_monitor_close(in);
	ram_map_destroy(&in->ram);
	ram_map_destroy(&in->prepare.ram);
	mailbox_destroy(in->mail);
	host_close(in->host);
	incoming_place_close(in);
	free(in);
}

static void run(struct incoming *in, struct line line, struct incoming_result *result)
{
	uint64_t begun = in->world->now_us();
	int ret = incoming_prepare(in, line);

	if (ret == 0)
		ret = incoming_attach(in);
	if (ret == 0)
		ret = control_send_type(in->control, WIRE_READY);
	if (ret < 0) {
		errtext_set(&in->err, ret, "cannot take the guest in: %s", strerror(-ret));
		incoming_move_after(in, INCOMING_GIVEN_UP);
	}
	incoming_wait(in);
	incoming_end(in, result);
	result->total_ms = (in->world->now_us() - begun) / 1000;
}

static struct incoming *incoming_new(struct receiver *r, enum incoming_state state,
				     const struct wire_hello *hello, const struct door_terms *terms)
{
	struct incoming *in = calloc(1, sizeof(*in));

	if (!in || mailbox_new(&in->mail) < 0) {
		free(in);
		return NULL;
	}
	in->receiver = r;
	in->state = state;
	in->world = r->opt.world;
	memcpy(in->session, hello->session, sizeof(in->session));
	snprintf(in->peer, sizeof(in->peer), "%s", terms->peer);
	in->features = terms->features;
	in->joined.secret = terms->secret;
	incoming_place_init(in);
	incoming_monitor_init(in);
	incoming_postcopy_init(in);
	return in;
}

/* All that is asked about a migration later goes by its number: there must not be another one. */
static int claim_number(struct incoming *in, struct line line, struct errtext *err)
{
	struct guest_dir dir;
	struct record r = {0};
	char session[2 * WIRE_SESSION_SIZE + 1];
	struct wire_message refusal = {.type = WIRE_ABORT};
	int ret;

	record_session(in->session, session);
	ret = in->world->find_record(RECORD_INCOMING, incoming_is_of_session, session, &dir, &r,
				     NULL);
	if (ret == 0)
		record_destroy(&r);
	if (ret != 0 && receiver_add(in) == 0)
		return 0;
	errtext_set(err, -EEXIST, "the number of this migration, %s, is another one's here",
		    session);
	refusal.abort.text = err->text;
	control_write_one(line, CONNECTION_FIRST_MS, &refusal, NULL);
	return -EEXIST;
}

/* No session has come of it. */
static void forget(struct incoming *in)
{
	if (!in)
		return;
	ram_map_destroy(&in->prepare.ram);
	mailbox_destroy(in->mail);
	free(in);
}

void incoming_serve(struct receiver *r, struct line line, const struct wire_hello *hello,
		    const struct door_terms *terms, struct incoming_result *result)
{
	_cleanup_line_ struct line own = line;
	_cleanup_message_ struct wire_message m = {0};
	struct incoming *in = incoming_new(r, INCOMING_QUEUED, hello, terms);
	struct errtext err = {0};
	int ret = in ? control_read_one(line, CONNECTION_FIRST_MS, &m, &err) : -ENOMEM;

	*result = (struct incoming_result){0};
	if (ret == 0 && m.type != WIRE_PREPARE)
		ret = errtext_set(&err, -EPROTO, "PREPARE was expected, %s came",
				  wire_type_name(m.type));
	if (ret == 0) {
		in->prepare = wire_message_steal(&m).prepare;
		if (in->prepare.silence_ms > CONNECTION_SILENCE_MAX_MS)
			in->prepare.silence_ms = CONNECTION_SILENCE_MAX_MS;
		uuid_unparse_lower(in->prepare.uuid, in->uuid);
		ret = claim_number(in, line, &err);
	}
	if (ret < 0) {
		snprintf(result->reason, sizeof(result->reason), "%s", err.text);
		forget(in);
		return;
	}
	snprintf(result->domain, sizeof(result->domain), "%s", in->prepare.name);
	result->prepared = true;
	run(in, line_steal(&own), result);
	destroy(in);
}

/* ---- another process's post-copy ---- */

/* The only message of a connection: COMPLETE, or ABORT if `why` is given. The connection is closed
 * only when the source has closed its end: to close it with bytes unread would make the message be
 * lost. */
static void say_last(struct line line, const char *why)
{
	const struct wire_message complete = {.type = WIRE_COMPLETE};
	const struct wire_message ended = {.type = WIRE_ABORT, .abort = {why}};
	uint8_t byte;

	if (control_write_one(line, CONNECTION_FIRST_MS, why ? &ended : &complete, NULL) < 0)
		return;
	line_end(line);
	while (line_read_full(line, &byte, 1, CONNECTION_FIRST_MS) == 0)
		;
}

int incoming_carry_on(struct receiver *r, struct line line, const struct wire_hello *hello,
		      const struct door_terms *terms, struct incoming_result *result)
{
	_cleanup_line_ struct line own = line;
	struct incoming *in = incoming_new(r, INCOMING_OWED, hello, terms);
	struct errtext err = {0};
	int ret = in ? incoming_adopt(in) : -ENOMEM;

	*result = (struct incoming_result){0};
	if (!in)
		return ret;
	if (ret == -ENOENT)
		say_last(line, in->err.text);
	if (ret == -EALREADY)
		say_last(line, NULL);
	if (ret == 0)
		ret = receiver_add(in); /* else another connection has just brought it up */
	if (ret == 0) {
		result->prepared = true;
		snprintf(result->domain, sizeof(result->domain), "%s", in->place.record.domain);
		incoming_live_start(in, own.fd);
		/* If that fails the source makes another page link. */
		incoming_link_serve(in, line_steal(&own), hello->index, terms, &err);
		incoming_wait(in);
		incoming_end(in, result);
	}
	destroy(in);
	return ret;
}
