// SPDX-License-Identifier: Apache-2.0
// --verify: both hosts compute a digest of all guest RAM.
#include "outgoing_verify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "outgoing_await.h"
#include "outgoing_private.h"
#include "outgoing_state.h"

/* The destination's digest takes about as long as ours. */
#define VERIFY_MS 60000

static bool has_digest(const struct outgoing *o)
{
	return o->proof.known;
}

static int compare_digests(struct outgoing *o, const struct wire_digest *ours)
{
	if (ours->count != o->proof.theirs.count)
		return outgoing_fail(o, -EPROTO,
				     "the destination sent %u digests for %u RAM blocks",
				     o->proof.theirs.count, ours->count);
	for (unsigned int i = 0; i < ours->count; i++)
		if (memcmp(ours->digest[i], o->proof.theirs.digest[i], 16) != 0)
			return outgoing_fail(o, -EBADMSG,
					     "RAM block %s differs between the hosts: not handed "
					     "over; please report this as a bug in dray",
					     o->guest.ram.blocks[i].name);
	for (int i = 0; i < 16; i++)
		snprintf(o->proof.verified + 2 * i, 3, "%02x", ours->digest[0][i]);
	return 0;
}

/* Both sides compute at the same time; heartbeats go on, so a dead peer still shows within
 * stopped_ms. */
int outgoing_verify(struct outgoing *o)
{
	struct wire_digest ours = {0};
	struct errtext err = {0};
	int ret = outgoing_peer_send(o, WIRE_DIGEST_REQUEST);

	if (ret == 0)
		ret = o->world->digest(&o->guest.ram, o->opt->streams, mailbox_urgent(o->mail.box),
				       &ours, &err);
	/* Cancelled: the mail that asked for it is taken now. */
	if (ret == 0 || ret == -ECANCELED)
		ret = outgoing_await(o, has_digest, VERIFY_MS, "the destination's digest");
	if (ret == 0)
		ret = compare_digests(o, &ours);
	return ret < 0 ? outgoing_fail(o, ret, "cannot verify: %s", err.text) : 0;
}

void outgoing_verify_take_digest(struct outgoing *o, struct wire_message *m)
{
	o->proof.theirs = *m->digest;
	o->proof.known = true;
}
