// SPDX-License-Identifier: Apache-2.0
// The destination: the way to it, the control channel, and what it has said of itself.
#include "outgoing_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "cleanup.h"
#include "connection.h"
#include "outgoing_await.h"
#include "outgoing_private.h"
#include "outgoing_state.h"
#include "outgoing_status.h"

#define LIBVIRT_WORD_MS 2000

int outgoing_peer_init(struct outgoing *o)
{
	o->peer.at.socket = o->opt->socket;
	o->peer.at.socket.user_timeout_ms = connection_dead_ms(o->opt->silence_ms);
	if (getrandom(o->peer.at.session, sizeof(o->peer.at.session), 0) < 0)
		return -errno;
	return pacer_new(o->precopy.limits.bandwidth, &o->peer.pacer);
}

int outgoing_peer_parse(struct outgoing *o)
{
	int ret = socket_parse_endpoint(o->opt->destination, WIRE_PORT, o->peer.at.host,
					&o->peer.at.port, &o->err);

	if (ret == 0 && o->opt->tls_dir[0])
		ret = door_tls_new(o->opt->tls_dir, &o->peer.at.tls, &o->err);
	return ret;
}

static bool on_message(void *opaque, struct wire_message *message, uint64_t deadline_us)
{
	struct outgoing *o = opaque;

	return mailbox_message(o->mail.box, message, deadline_us);
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_CONTROL_LOST, result, text);
}

static int check_other_host(struct outgoing *o, const struct door_terms *terms)
{
	uint8_t uuid[16];
	int ret = host_uuid(o->libvirt.host, uuid, &o->err);

	if (ret == 0 && memcmp(uuid, terms->host.uuid, sizeof(uuid)) == 0)
		ret = outgoing_fail(
			o, -EINVAL,
			"destination %s is this very host (both have the same host UUID): "
			"name another one; cloned hosts need a host_uuid of their own "
			"in libvirtd.conf",
			o->opt->destination);
	o->peer.features = terms->features;
	o->peer.at.who = terms->host; /* and no other one from now on */
	return ret;
}

static void fill_prepare(const struct outgoing *o, struct wire_message *m)
{
	snprintf(m->prepare.name, sizeof(m->prepare.name), "%s", o->guest.info.name);
	memcpy(m->prepare.uuid, o->guest.info.uuid_bytes, sizeof(m->prepare.uuid));
	m->prepare.streams = o->opt->streams;
	m->prepare.silence_ms = o->opt->silence_ms;
	m->prepare.running = o->guest.was_running;
	m->prepare.autostart = o->guest.info.autostart;
	m->prepare.strained = o->guest.strained;
	m->prepare.trial = o->opt->trial;
	m->prepare.ram = o->guest.ram; /* borrowed for the encoding */
}

/* The line becomes the control channel's. */
static int open_control(struct outgoing *o, struct line line)
{
	struct wire_message prepare = {.type = WIRE_PREPARE};
	const struct control_options control = {.line = line,
						.silence_ms = o->opt->silence_ms,
						.first = &prepare,
						.pacer = o->peer.pacer,
						.message = on_message,
						.lost = on_lost,
						.opaque = o};

	fill_prepare(o, &prepare);
	return o->world->control.new(&control, &o->peer.control, &o->err);
}

int outgoing_peer_connect(struct outgoing *o)
{
	_cleanup_line_ struct line line = LINE_NONE;
	struct door_terms terms;
	int ret;

	o->peer.at.timeout_ms = (int)o->opt->connect_ms;
	ret = o->world->dial(&o->peer.at, WIRE_KIND_CONTROL, 0, &line, &terms, &o->err);
	if (ret == 0)
		ret = check_other_host(o, &terms);
	if (ret == 0)
		ret = wire_cost_new(line.fd, o->peer.pacer, &o->peer.cost);
	if (ret == 0)
		ret = open_control(o, line_steal(&line));
	return ret;
}

int outgoing_peer_send(struct outgoing *o, enum wire_type type)
{
	const struct wire_message m = {.type = type};

	return o->world->control.send(o->peer.control, &m);
}

void outgoing_peer_abort(struct outgoing *o)
{
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {o->err.text}};

	if (!o->peer.control || o->peer.lost || o->peer.told)
		return;
	o->peer.told = true;
	o->world->control.send(o->peer.control, &m);
}

void outgoing_peer_hang_up(struct outgoing *o)
{
	o->world->control.destroy(o->peer.control);
}

void outgoing_peer_release(struct outgoing *o)
{
	wire_cost_destroy(o->peer.cost);
	pacer_destroy(o->peer.pacer);
	door_tls_destroy(o->peer.at.tls);
}

void outgoing_peer_take_lost(struct outgoing *o, struct mail *mail)
{
	o->peer.lost = true;
	if (!outgoing_is_handed_over(o))
		outgoing_fail(o, mail->result, "lost the destination %s: %s", o->opt->destination,
			      mail->text);
}

void outgoing_peer_take_backing(struct outgoing *o, struct wire_message *m)
{
	o->peer.no_shared_files = !m->backing.shared;
	strcpy(o->peer.backing, m->backing.text);
}

void outgoing_peer_take_prepared(struct outgoing *o, struct wire_message *m)
{
	outgoing_status_show_ahead(o, "destination", 0);
	strcpy(o->peer.monitor_path, m->prepared.monitor_path);
	strcpy(o->peer.stream_path, m->prepared.stream_path);
	o->peer.accepted = true;
}

void outgoing_peer_take_ready(struct outgoing *o, struct wire_message *m)
{
	(void)m;
	o->peer.ready = true;
}

void outgoing_peer_take_finished(struct outgoing *o, struct wire_message *m)
{
	(void)m;
	outgoing_peer_note_finished(o);
}

void outgoing_peer_note_finished(struct outgoing *o)
{
	o->peer.finished = true;
}

void outgoing_peer_take_released(struct outgoing *o, struct wire_message *m)
{
	(void)m;
	o->peer.released = true;
}

/* It says RELEASED as soon as it has let QEMU's stream go, and on this channel nothing overtakes
 * anything: what gives up without having said so has not let it go, and will not. */
static void take_late_abort(struct outgoing *o, const struct wire_message *m)
{
	if (o->peer.released)
		return;
	o->peer.refused = true;
	errtext_set(&o->err, 0, "the destination gave up: %s", m->abort.text);
}

/* A QEMU there that ends as it starts has told libvirt why, which tells us a moment after the
 * receiver has seen it end. One that ends later may do so because its migration was cancelled here,
 * which the QEMU here tells by an event: to break its stream now would make a failure of that. */
static void let_libvirt_speak(struct outgoing *o)
{
	if (o->libvirt.job && !o->libvirt.perform_held)
		outgoing_await_job(o, LIBVIRT_WORD_MS);
	else if (o->libvirt.gate_opened)
		outgoing_await_cause(o);
}

void outgoing_peer_take_abort(struct outgoing *o, struct wire_message *m)
{
	static const int codes[WIRE_ABORT_END_] = {
		[WIRE_ABORT_FAILED] = -ECONNABORTED,
		[WIRE_ABORT_REFUSED] = -ENOTSUP, /* it would be refused again */
		[WIRE_ABORT_CANCELLED] = -ECANCELED,
	};

	if (outgoing_is_handed_over(o)) {
		take_late_abort(o, m);
		return;
	}
	if (m->abort.why == WIRE_ABORT_CANCELLED && !o->failed)
		o->cancelled = true;
	if (m->abort.why == WIRE_ABORT_REFUSED && !o->failed)
		o->peer.declined = true;
	if (m->abort.why == WIRE_ABORT_FAILED && !o->failed)
		let_libvirt_speak(o);
	outgoing_fail(o, codes[m->abort.why], "the destination gave up: %s", m->abort.text);
}
