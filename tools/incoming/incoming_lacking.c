// SPDX-License-Identifier: Apache-2.0
// Post-copy waits for memory: the user of this host is told, and the source.
#include "incoming_private.h"

#include <stdio.h>

#define AGAIN_US 10000000

/* The threads that wait say so again and again. */
void incoming_lacking(struct incoming *in, const char *text)
{
	const struct wire_message m = {.type = WIRE_WAITING, .abort = {text}};
	const struct receiver_options *opt = &in->receiver->opt;
	struct incoming_link *link;

	if (in->world->now_us() < in->postcopy.quiet_until_us)
		return;
	in->postcopy.quiet_until_us = in->world->now_us() + AGAIN_US;
	if (opt->waiting)
		opt->waiting(opt->opaque, in->prepare.name, text);
	link = incoming_link_hold(in);
	if (!link)
		return;
	control_send(link->control, &m);
	incoming_link_let_go(link);
}

/* The guest is not ended: it may run for a while on what it has, and only its user can know whether
 * that is of use. */
void incoming_lacking_for_good(struct incoming *in, const char *why)
{
	const struct receiver_options *opt = &in->receiver->opt;
	char text[WIRE_TEXT_MAX + 256];

	snprintf(
		text, sizeof(text),
		"part of its memory does not come: %s. It stands still where it needs that: end it "
		"here (virsh destroy), and start it anew from its disks",
		why);
	if (opt->waiting)
		opt->waiting(opt->opaque, in->prepare.name, text);
}
