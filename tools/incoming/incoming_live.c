// SPDX-License-Identifier: Apache-2.0
// What `dray status` and `dray cancel` see and do at the destination.
#include "incoming_live.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include "clock.h"
#include "incoming_private.h"
#include "json_field.h"
#include "lane.h"
#include "live.h"

/* In the words of the source's phases. */
static enum phase phase_of(enum incoming_state state)
{
	static const enum phase phases[INCOMING_STATE_END_] = {
		[INCOMING_QUEUED] = PHASE_CONNECT,    [INCOMING_PREPARED] = PHASE_PREPARE,
		[INCOMING_READY] = PHASE_PRECOPY,     [INCOMING_LISTENING] = PHASE_PRECOPY,
		[INCOMING_RELEASED] = PHASE_HANDOVER, [INCOMING_RUNNING] = PHASE_FINISH,
		[INCOMING_OWED] = PHASE_POSTCOPY,     [INCOMING_FETCHING] = PHASE_POSTCOPY,
		[INCOMING_PROVING] = PHASE_VERIFY,    [INCOMING_SETTLING] = PHASE_HANDOVER,
		[INCOMING_UNDOING] = PHASE_ROLLBACK,  [INCOMING_GONE] = PHASE_LOST,
		[INCOMING_ARRIVED] = PHASE_FINISH,    [INCOMING_UNDONE] = PHASE_FAILED,
		[INCOMING_UNKNOWN] = PHASE_LOST,
	};

	return phases[state];
}

/* Before post-copy only the source knows what is left. Under the receiver's lock. */
static void put_memory(json_object *o, struct incoming *in)
{
	const struct incoming_live *l = &in->live;

	if (l->owed)
		json_put_number(o, "remaining_bytes", owed_left(l->owed) * RAM_PAGE_SIZE);
	json_put_number(o, "transferred_bytes", incoming_stream_bytes(in));
	json_put_number(o, "total_bytes", l->total_bytes);
}

static json_object *on_status(void *opaque)
{
	struct incoming *in = opaque;
	const struct incoming_live *l = &in->live;
	json_object *o = json_object_new_object();

	json_put_text(o, "domain", in->prepare.name);
	json_put_text(o, "uuid", in->uuid);
	json_put_text(o, "host", l->source);
	json_put_text(o, "direction", "incoming");
	pthread_mutex_lock(&in->receiver->lock);
	json_put_text(o, "phase", phase_name(phase_of(l->state)));
	json_put_text(o, "mode", l->owed ? "PostCopy" : "PreCopy");
	put_memory(o, in);
	pthread_mutex_unlock(&in->receiver->lock);
	json_put_text(o, "lane", LANE_DIRECT);
	json_object_object_add(o, "tls",
			       json_object_new_boolean(in->receiver->opt.tls_dir[0] != 0));
	json_put_time(o, "started", &l->begun, 0);
	json_put_number(o, "elapsed_ms", (clock_monotonic_us() - l->begun_us) / 1000);
	json_put_number(o, "pid", (uint64_t)getpid());
	return o;
}

/* The session may move on before it takes the mail, and then does not act on it. */
static int on_cancel(void *opaque, struct errtext *err)
{
	struct incoming *in = opaque;
	enum incoming_state state;

	pthread_mutex_lock(&in->receiver->lock);
	state = in->live.state;
	pthread_mutex_unlock(&in->receiver->lock);
	if (incoming_state_owner(state) != OWNER_SOURCE)
		return errtext_set(err, -EBUSY,
				   "the guest is being, or has been, handed over to this host: too "
				   "late to call the migration off");
	mailbox_note(in->mail, MAIL_CANCEL, -ECANCELED,
		     "cancelled by dray cancel on the destination");
	return 0;
}

static int refuse(void *opaque, const char *key, const char *value, struct errtext *err)
{
	const struct incoming *in = opaque;

	(void)value;
	return errtext_set(err, -EINVAL,
			   "%s: the guest comes to this host: `dray set` on %s, which it leaves, "
			   "changes that",
			   key, in->live.source);
}

void incoming_live_start(struct incoming *in, int fd)
{
	struct incoming_live *l = &in->live;
	const struct live_handlers handlers = {.status = on_status,
					       .cancel = on_cancel,
					       .check = refuse,
					       .set = refuse,
					       .opaque = in};
	struct errtext err = {0};
	char *port;

	socket_peer(fd, l->source);
	port = strrchr(l->source, ':');
	if (port)
		*port = '\0'; /* which changes with each connection */
	l->begun_us = clock_monotonic_us();
	clock_gettime(CLOCK_REALTIME, &l->begun);
	l->total_bytes = ram_map_bytes(in->ram.count ? &in->ram : &in->prepare.ram);
	incoming_live_show(in);
	if (live_start(in->place.dir.incoming_control, &handlers, &l->live, &err) < 0)
		syslog(LOG_WARNING, "%s", err.text);
}

void incoming_live_stop(struct incoming *in)
{
	live_stop(in->live.live);
	in->live.live = NULL;
}

void incoming_live_show(struct incoming *in)
{
	pthread_mutex_lock(&in->receiver->lock);
	in->live.state = in->state;
	in->live.owed = in->postcopy.owed;
	pthread_mutex_unlock(&in->receiver->lock);
}
